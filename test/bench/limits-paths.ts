import { setUpGateway } from "../support/gateway.ts";
import {
  FAST_KBPS,
  type LimitedUploads,
  limitCases,
  limitedHosts,
  SLOW_KBPS,
  uploadUnderLimits,
} from "../support/limited-uploads.ts";
import { type Measure, type Row, withLab } from "./row.ts";
import { median } from "./statistics.ts";

/** What gets through under `egress_kbps`, straight and through a real proxy, beside a host without a limit in the same seconds. */
export const measureLimitsPaths: Measure = ({ quick, say }) =>
  withLab(async (lab) => {
    const rounds = quick ? 1 : 3;
    const timing = quick ? { warmUpMs: 1_300, forMs: 700 } : { warmUpMs: 1_500, forMs: 3_000 };
    const gateway = await setUpGateway(lab, { policy: limitedHosts });
    const first = await gateway.sync();
    if (!first.ok) throw new Error(`the gateway does not enforce: ${first.code} ${first.message}`);
    const results = limitCases.map((): LimitedUploads[] => []);
    for (let round = 0; round < rounds; round += 1) {
      say(`round ${round + 1} of ${rounds}`);
      for (const [index, row] of limitCases.entries()) {
        results[index]?.push(await uploadUnderLimits(lab, row, timing));
      }
    }
    const how = `${rounds} runs of ${timing.forMs / 1000} s each in turns after ${timing.warmUpMs / 1000} s, median of the payload that arrived; both limits and a host without one, held to 300,000 kbit/s by itself, at the same time`;
    return limitCases.flatMap(({ path, family, flows }, index): readonly Row[] => {
      const of = (field: keyof LimitedUploads): number => median((results[index] ?? []).map((result) => result[field]));
      const line = (kbps: number, field: "slow" | "fast"): Row => ({
        what: `limit of ${kbps.toLocaleString("en")} kbit/s, ${path}, IPv${family}, ${flows} ${flows === 1 ? "flow" : "flows"}`,
        ...{ unit: "kbit/s", ours: of(field), other: { what: "no limit", value: of("free") }, how },
        goal: `${Math.round(kbps * 0.85)}–${Math.round(kbps * 1.15)}`,
      });
      return [line(SLOW_KBPS, "slow"), line(FAST_KBPS, "fast")];
    });
  });
