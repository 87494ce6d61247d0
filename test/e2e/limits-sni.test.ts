import { afterAll, beforeAll, expect, test } from "vitest";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway } from "../support/gateway.ts";
import { FAST_KBPS, limitCases, limitedHosts, SLOW_KBPS, uploadUnderLimits } from "../support/limited-uploads.ts";

/**
 * `egress_kbps` through the proxy of SNI mode, which is limited on the way to it: what arrives on the internet side, with
 * a tolerance of 15 %. `npm run bench -- limits-paths` measures the same beside the straight way.
 */

const TOLERANCE = 0.15;
const timing = { warmUpMs: 1_500, forMs: 1_500 };

let lab: Lab;

beforeAll(async () => {
  lab = await startLab();
  const gateway = await setUpGateway(lab, { policy: limitedHosts });
  const first = await gateway.sync();
  expect(first, first.message).toMatchObject({ ok: true, outcome: "confirmed" });
});
afterAll(async () => {
  await lab?.stop();
});

// Who sends needs a share of the processor that a machine with other work does not always give.
test.each(limitCases.filter(({ path }) => path === "SNI proxy"))(
  "IPv$family, $flows flows: each what it may, and a host without a limit several times as much",
  { retry: 2 },
  async (row) => {
    const { slow, fast, free } = await uploadUnderLimits(lab, row, timing);
    for (const [kbps, limit] of [
      [slow, SLOW_KBPS],
      [fast, FAST_KBPS],
    ] as const) {
      const text = `${Math.round(kbps)} of ${limit} kbit/s, without a limit ${Math.round(free)}`;
      expect(kbps / limit, text).toBeGreaterThan(1 - TOLERANCE);
      expect(kbps / limit, text).toBeLessThan(1 + TOLERANCE);
    }
    expect(free).toBeGreaterThan(2 * FAST_KBPS);
  },
);
