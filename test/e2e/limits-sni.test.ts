import { afterAll, beforeAll, expect, test } from "vitest";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway } from "../support/gateway.ts";
import { FAST_KBPS, limitCases, limitedHosts, SLOW_KBPS, uploadUnderLimits } from "../support/limited-uploads.ts";
import { isNear, mediansIfOff } from "../support/medians.ts";

/**
 * `egress_kbps` through the proxy of SNI mode, which is limited on the way to it: what arrives on the internet side, with
 * a tolerance of 15 %. `npm run bench -- limits-paths` measures the same beside the straight way.
 */

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

test.each(limitCases.filter(({ path }) => path === "SNI proxy"))(
  "IPv$family, $flows flows: each what it may, and a host without a limit several times as much",
  async (row) => {
    const measure = async (): Promise<readonly number[]> => {
      const { slow, fast, free } = await uploadUnderLimits(lab, row, timing);
      return [slow, fast, free];
    };
    const isRight = ([slow = 0, fast = 0, free = 0]: readonly number[]): boolean =>
      isNear(slow, SLOW_KBPS) && isNear(fast, FAST_KBPS) && free > 2 * FAST_KBPS;
    const rates = await mediansIfOff(measure, isRight);
    expect(isRight(rates), `kbit/s of the slow, the fast and the free host: ${rates.map(Math.round).join(", ")}`).toBe(
      true,
    );
  },
);
