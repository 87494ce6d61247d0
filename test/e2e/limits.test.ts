import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import type { UploadResult } from "../lab/client.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** `egress_kbps`: what arrives on the internet side from a host, in kilobits a second, with a tolerance of 15 %. */

const TOLERANCE = 0.15;
/** Networks and not names, so that a flow depends on nothing but the limit. */
const SINK = { v4: "203.0.113.60", v6: "2001:db8:1::3c" } as const;
/** A machine of the operators among the clients. */
const LIFELINE = "10.80.0.98";
const allow = { ips: ["203.0.113.60/32", "2001:db8:1::3c/128"], ports: [7000, 7002] };

interface Rates {
  readonly agent1?: number;
  readonly everyone?: number;
}

/** agent1 is a host by its addresses of both families, and by one more; agent2 a host without a limit; the others are in no entry. */
function policyWith({ agent1, everyone }: Rates): { readonly [key: string]: unknown } {
  const limits = (kbps: number | undefined): object => (kbps === undefined ? {} : { limits: { egress_kbps: kbps } });
  return {
    version: 1,
    allow,
    ...limits(everyone),
    hosts: {
      "agent-1": { sources: ["10.80.0.10", "fd80::10", "10.80.0.20"], ...limits(agent1) },
      "agent-2": { sources: ["10.80.0.11", "fd80::11"] },
    },
  };
}

let lab: Lab;
let gateway: TestGateway;

async function enforce(rates: Rates): Promise<void> {
  await gateway.commit(policyWith(rates));
  const result = await gateway.sync();
  expect(result, result.message).toMatchObject({ ok: true, outcome: "confirmed" });
}

beforeAll(async () => {
  lab = await startLab();
  await lab.execChecked("agent1", ["ip", "address", "add", "10.80.0.20/24", "dev", "eth0"]);
  await lab.execChecked("stray", ["ip", "address", "add", `${LIFELINE}/24`, "dev", "eth0"]);
  const lifeline = ["10.99.0.0/24", "fd99::/64", `${LIFELINE}/32`];
  gateway = await setUpGateway(lab, { policy: policyWith({ agent1: 2000 }), config: { lifeline } });
  const first = await gateway.sync();
  expect(first, first.message).toMatchObject({ ok: true });
});

afterAll(async () => {
  await lab?.stop();
});

function rateOf(result: UploadResult): number {
  if (result.outcome !== "connected") throw new Error(`no upload: ${JSON.stringify(result)}`);
  expect(result.ended, "flows that did not last").toBe(0);
  return result.kbps;
}

function expectRate(kbps: number, limit: number): void {
  expect(kbps / limit, `${Math.round(kbps)} of ${limit} kbit/s`).toBeGreaterThan(1 - TOLERANCE);
  expect(kbps / limit, `${Math.round(kbps)} of ${limit} kbit/s`).toBeLessThan(1 + TOLERANCE);
}

/** Long enough for the second's worth that a host may send at once after it was silent. */
const WARM_UP_MS = 700;

describe.each([2000, 50_000])("a host with %i kbit/s", (limit) => {
  beforeAll(() => enforce({ agent1: limit }));

  test.each([
    [4, 1],
    [4, 4],
    [6, 1],
    [6, 4],
  ] as const)(
    "over IPv%i with %i flows sends that much, and another host in the same seconds at least 5 times it",
    async (family, flows) => {
      const options = { flows, warmUpMs: WARM_UP_MS, forMs: 2_000 };
      const [limited, free] = await Promise.all([
        lab.client("agent1").upload(SINK[`v${family}`], options),
        lab.client("agent2").upload(SINK[`v${family}`], { ...options, flows: 1 }),
      ]);
      expectRate(rateOf(limited), limit);
      expect(rateOf(free)).toBeGreaterThan(5 * rateOf(limited));
    },
  );
});

test("all addresses of a host share its limit, of both families", async () => {
  await enforce({ agent1: 8000 });
  const client = lab.client("agent1");
  const options = { warmUpMs: WARM_UP_MS, forMs: 2_000 };
  const results = await Promise.all([
    client.upload(SINK.v4, options),
    client.upload(SINK.v4, { ...options, source: "10.80.0.20" }),
    client.upload(SINK.v6, options),
  ]);
  expectRate(
    results.map(rateOf).reduce((sum, kbps) => sum + kbps, 0),
    8000,
  );
});

test("a running flow goes on under a new limit, and without one, and no apply cuts it", async () => {
  await enforce({ agent1: 20_000 });
  const flow = lab.client("agent1").upload(SINK.v4, { warmUpMs: 500, forMs: 8_000, timeoutMs: 1_500 });
  const steps: number[] = [];
  const sent = async (): Promise<number> => (await lab.packets({ to: SINK.v4, port: 7002 })).bytes;
  for (const kbps of [20_000, 3000] as const) {
    await enforce({ agent1: kbps });
    await sleepMs(1_200);
    const [before, startedMs] = [await sent(), performance.now()];
    await sleepMs(1_200);
    steps.push((((await sent()) - before) * 8) / (performance.now() - startedMs));
  }
  rateOf(await flow);
  expectRate(steps[0] ?? 0, 20_000);
  expectRate(steps[1] ?? 0, 3000);
});

test("applying the same limit again gives nothing away", async () => {
  await enforce({ agent1: 2000 });
  const upload = lab.client("agent1").upload(SINK.v4, { warmUpMs: WARM_UP_MS, forMs: 4_000 });
  for (const everyone of [9000, 8000, 7000]) await enforce({ agent1: 2000, everyone });
  // Three buckets of a second's worth each would be 75 % more.
  expectRate(rateOf(await upload), 2000);
});

test("a global limit is each client's own, of those in no host entry", async () => {
  await enforce({ everyone: 4000 });
  const options = { warmUpMs: WARM_UP_MS, forMs: 2_000 };
  const [stray, guest, host] = await Promise.all([
    lab.client("stray").upload(SINK.v4, options),
    lab.client("guest").upload(SINK.v6, options),
    lab.client("agent1").upload(SINK.v4, options),
  ]);
  expectRate(rateOf(stray), 4000);
  expectRate(rateOf(guest), 4000);
  expect(rateOf(host)).toBeGreaterThan(5 * 4000);
});

test("what is denied is refused aloud, however little is left of the limit", async () => {
  await enforce({ agent1: 100 });
  const client = lab.client("agent1");
  const upload = client.upload(SINK.v4, { warmUpMs: WARM_UP_MS, forMs: 1_500 });
  await sleepMs(WARM_UP_MS);
  for (let attempt = 0; attempt < 10; attempt += 1) {
    expect(await client.connect("203.0.113.61", 7000, { timeoutMs: 500 })).toMatchObject({ outcome: "refused" });
  }
  rateOf(await upload);
});

test("the lifeline is never slowed down, even where the policy allows and limits it", async () => {
  await gateway.commit({
    version: 1,
    allow,
    hosts: { everybody: { sources: ["10.80.0.0/24"], limits: { egress_kbps: 500 } } },
  });
  expect(await gateway.sync()).toMatchObject({ outcome: "confirmed" });
  const options = { warmUpMs: 1_200, forMs: 1_500 };
  const [limited, lifeline] = await Promise.all([
    lab.client("agent2").upload(SINK.v4, options),
    lab.client("stray").upload(SINK.v4, { ...options, source: LIFELINE }),
  ]);
  expectRate(rateOf(limited), 500);
  expect(rateOf(lifeline)).toBeGreaterThan(5 * 500);
});

test("explain names the limit and its line", async () => {
  await enforce({ agent1: 2000, everyone: 500 });
  const explain = (from: string): Promise<{ readonly stdout: string }> =>
    gateway.clawgress(["explain", from, "203.0.113.60:7002", "--config", gateway.configFile]);
  expect((await explain("agent-1")).stdout).toMatch(/limit: 2000 kbit\/s .* \(policy\.json:\d+\)/);
  expect((await explain("10.80.0.99")).stdout).toContain("limit: 500 kbit/s");
  expect((await explain("agent-2")).stdout).not.toContain("limit:");
});
