import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";
import { isNear, mediansIfOff } from "../support/medians.ts";

/** `limits.egress_kbps` of the whole policy: what each client in no host entry may send, straight and through the proxy. */

const timing = { warmUpMs: 1_500, forMs: 1_500, timeoutMs: 5_000 };
const limited = (kbps: number) => ({
  version: 1,
  allow: { domains: ["a.allowed.test"], ports: [443, 7002] },
  limits: { egress_kbps: kbps },
  proxy: { mode: "sni-allowlist" },
});

let lab: Lab;
let gateway: TestGateway;

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: limited(2_000), threshold: 1 });
});
afterAll(async () => {
  await lab?.stop();
});

describe.each([2_000, 50_000])("%i kbit/s for everyone", (limit) => {
  beforeAll(async () => {
    await gateway.commit(limited(limit), { signers: ["alice"] });
    const result = await gateway.sync();
    expect(result, result.message).toMatchObject({ ok: true, outcome: "confirmed" });
  });

  test.each([
    ["straight", 4],
    ["straight", 6],
    ["through the proxy", 4],
    ["through the proxy", 6],
  ] as const)("%s, over IPv%i", async (path, family) => {
    const how = { ...timing, family, ...(path === "straight" ? {} : { web: true, port: 443 }) };
    const isRight = ([kbps = 0]: readonly number[]): boolean => isNear(kbps, limit);
    const measure = async (): Promise<readonly number[]> => {
      const result = await lab.client("agent1").upload("a.allowed.test", how);
      if (result.outcome !== "connected" || result.ended > 0) throw new Error(JSON.stringify(result));
      return [result.kbps];
    };
    const rates = await mediansIfOff(measure, isRight);
    expect(isRight(rates), `${rates.map(Math.round).join(", ")} of ${limit} kbit/s`).toBe(true);
  });
});
