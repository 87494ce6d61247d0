import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import type { UploadResult } from "../lab/client.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { type Datapath, raiseDatapath } from "../support/datapath.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";
import { isNear, mediansIfOff, TOLERANCE } from "../support/medians.ts";

/** `egress_kbps`: what arrives on the internet side from a host, in kilobits a second, with a tolerance of 15 %. */

/** Networks and not names, so that a flow depends on nothing but the limit. */
const SINK = { v4: "203.0.113.60", v6: "2001:db8:1::3c" } as const;
const allow = { ips: ["203.0.113.60/32", "2001:db8:1::3c/128"], ports: [7000, 7002] };

interface Rates {
  readonly agent1?: number;
  readonly guest?: number;
  readonly everyone?: number;
}

/** agent1 is a host by its addresses of both families, and by one more; agent2 a host without a limit; the others are in no entry. */
function policyWith({ agent1, guest, everyone }: Rates): { readonly [key: string]: unknown } {
  const limits = (kbps: number | undefined): object => (kbps === undefined ? {} : { limits: { egress_kbps: kbps } });
  return {
    version: 1,
    allow,
    ...limits(everyone),
    hosts: {
      "agent-1": { sources: ["10.80.0.10", "fd80::10", "10.80.0.20"], ...limits(agent1) },
      "agent-2": { sources: ["10.80.0.11", "fd80::11"] },
      ...(guest === undefined ? {} : { guest: { sources: ["10.81.0.0/24", "fd81::/64"], ...limits(guest) } }),
    },
  };
}

function rateOf(result: UploadResult): number {
  if (result.outcome !== "connected") throw new Error(`no upload: ${JSON.stringify(result)}`);
  expect(result.ended, "flows that did not last").toBe(0);
  return result.kbps;
}

/** Holds measured rates to their limits, in that order. */
async function expectRates(limits: readonly number[], measure: () => Promise<readonly number[]>): Promise<void> {
  const isRight = (rates: readonly number[]): boolean =>
    limits.every((limit, index) => isNear(rates[index] ?? 0, limit));
  const rates = await mediansIfOff(measure, isRight);
  expect(isRight(rates), `${rates.map(Math.round).join(", ")} of ${limits.join(", ")} kbit/s`).toBe(true);
}

/** Returns what reaches the sink from now on for a time, in kilobits of IP packets a second, whoever sends it. */
async function watchRate(lab: Lab, forMs: number): Promise<number> {
  // Reading takes long on a busy machine; the count is of some moment in between.
  const read = async (): Promise<{ readonly bytes: number; readonly atMs: number }> => {
    const startedMs = performance.now();
    const { bytes } = await lab.packets({ to: SINK.v4, port: 7002 });
    return { bytes, atMs: (startedMs + performance.now()) / 2 };
  };
  const before = await read();
  await sleepMs(forMs);
  const after = await read();
  return ((after.bytes - before.bytes) * 8) / (after.atMs - before.atMs);
}

/** A flow sends the second's worth that it may at once, loses what follows, and needs a while to make up for that. */
const timing = { warmUpMs: 1_300, forMs: 2_000 };
/** More would only take the machine's cores away from the others. */
const FAST_ENOUGH_KBPS = 300_000;

describe("what the rules do", () => {
  let lab: Lab;
  let datapath: Datapath;

  beforeAll(async () => {
    lab = await startLab();
    await lab.execChecked("agent1", ["ip", "address", "add", "10.80.0.20/24", "dev", "eth0"]);
    datapath = await raiseDatapath(lab);
  });
  afterAll(async () => {
    await lab?.stop();
  });

  describe("2,000 and 50,000 kbit/s in the same seconds, with a third host that has no limit", () => {
    beforeAll(() => void datapath.load(policyWith({ agent1: 2000, guest: 50_000 })));

    test.each([
      [4, 1],
      [4, 4],
      [6, 1],
      [6, 4],
    ] as const)(
      "over IPv%i, %i flows: each what it may, and the third at least 5 times as much",
      async (family, flows) => {
        const far = SINK[`v${family}`];
        const measure = async (): Promise<readonly number[]> => {
          const uploads = await Promise.all([
            lab.client("agent1").upload(far, { ...timing, flows }),
            lab.client("guest").upload(far, { ...timing, flows }),
            lab.client("agent2").upload(far, { ...timing, atKbps: FAST_ENOUGH_KBPS }),
          ]);
          return uploads.map(rateOf);
        };
        const isRight = ([slow = 0, fast = 0, free = 0]: readonly number[]): boolean =>
          isNear(slow, 2000) && isNear(fast, 50_000) && free > 5 * 50_000;
        const rates = await mediansIfOff(measure, isRight);
        expect(isRight(rates), `${rates.map(Math.round).join(", ")} kbit/s`).toBe(true);
      },
    );
  });

  test("a running flow goes on under another limit, and without one", async () => {
    await expectRates([3000], async () => {
      await datapath.load(policyWith({ agent1: 20_000 }));
      const flow = lab.client("agent1").upload(SINK.v4, { warmUpMs: 0, forMs: 8_500 });
      await sleepMs(500);
      await datapath.load(policyWith({ agent1: 3000 }));
      await sleepMs(timing.warmUpMs);
      const rate = await watchRate(lab, 1_500);
      await datapath.load(policyWith({}));
      // The sender finds out at its leisure.
      await expect.poll(() => watchRate(lab, 200), { timeout: 4_000 }).toBeGreaterThan(5 * 20_000);
      rateOf(await flow);
      return [rate];
    });
  });

  test("the same limit again and again gives nothing away", async () => {
    await expectRates([2000], async () => {
      await datapath.load(policyWith({ agent1: 2000 }));
      const upload = lab.client("agent1").upload(SINK.v4, timing);
      // A second's worth for each would be more than five times the limit.
      for (const everyone of Array.from({ length: 10 }, (_, index) => 9000 + index)) {
        await sleepMs(150);
        await datapath.load(policyWith({ agent1: 2000, everyone }));
      }
      return [rateOf(await upload)];
    });
  });

  test("a host's limit is for all its addresses together, the global one for each client in no host entry", async () => {
    await datapath.load(policyWith({ agent1: 8000, everyone: 4000 }));
    const host = lab.client("agent1");
    await expectRates([8000, 4000, 4000], async () => {
      const uploads = await Promise.all([
        host.upload(SINK.v4, timing),
        host.upload(SINK.v4, { ...timing, source: "10.80.0.20" }),
        host.upload(SINK.v6, timing),
        lab.client("stray").upload(SINK.v4, timing),
        lab.client("guest").upload(SINK.v6, timing),
      ]);
      const [first = 0, second = 0, third = 0, stray = 0, guest = 0] = uploads.map(rateOf);
      return [first + second + third, stray, guest];
    });
    // The host without a limit of its own.
    const free = await lab.client("agent2").upload(SINK.v4, { warmUpMs: 0, forMs: 300, atKbps: FAST_ENOUGH_KBPS });
    expect(rateOf(free)).toBeGreaterThan(5 * 8000);
  });

  test("a client that cannot be counted sends nothing", async () => {
    await datapath.load(policyWith({ everyone: 4000 }));
    const others = Array.from({ length: 65_536 }, (_, index) => `10.9.${index >> 8}.${index & 255} . 0xfa0`);
    await datapath.nft(`flush set inet clawgress spent4\nadd element inet clawgress spent4 { ${others.join(", ")} }\n`);
    expect(await lab.client("stray").connect(SINK.v4, 7000, { timeoutMs: 500 })).toMatchObject({ outcome: "timeout" });
    await datapath.nft("flush set inet clawgress spent4\n");
    expect(await lab.client("stray").connect(SINK.v4, 7000)).toMatchObject({ outcome: "connected" });
  });

  test("what is denied is refused aloud, however little is left of the limit", async () => {
    await datapath.load(policyWith({ agent1: 100 }));
    const client = lab.client("agent1");
    const upload = client.upload(SINK.v4, timing);
    await sleepMs(timing.warmUpMs);
    for (let attempt = 0; attempt < 10; attempt += 1) {
      expect(await client.connect("203.0.113.61", 7000, { timeoutMs: 500 })).toMatchObject({ outcome: "refused" });
    }
    rateOf(await upload);
  });

  test("the lifeline is never slowed down, even where the policy allows and limits it", async () => {
    await datapath.load({
      ...{ version: 1, allow },
      hosts: { everybody: { sources: ["10.80.0.0/24"], limits: { egress_kbps: 500 } } },
    });
    for (const table of ["clawgress", "clawgress_base"]) {
      await datapath.nft(`add element inet ${table} lifeline4 { ${lab.addresses.stray.v4} }\n`);
    }
    const [limited, lifeline] = await Promise.all([
      lab.client("agent2").upload(SINK.v4, timing),
      lab.client("stray").upload(SINK.v4, { ...timing, atKbps: 10_000 }),
    ]);
    await datapath.loadBase();
    expect(rateOf(limited)).toBeLessThan((1 + TOLERANCE) * 500);
    expect(rateOf(lifeline)).toBeGreaterThan(5 * 500);
  });
});

describe("what the agent does", () => {
  let lab: Lab;
  let gateway: TestGateway;

  beforeAll(async () => {
    lab = await startLab();
    gateway = await setUpGateway(lab, { policy: policyWith({ agent1: 20_000, everyone: 500 }) });
    const first = await gateway.sync();
    expect(first, first.message).toMatchObject({ ok: true, outcome: "confirmed" });
  });
  afterAll(async () => {
    await lab?.stop();
  });

  test("explain names the limit and its line", async () => {
    const explain = async (from: string): Promise<string> =>
      (await gateway.clawgress(["explain", from, "203.0.113.60:7002", "--config", gateway.configFile])).stdout;
    const [limited, other, free] = await Promise.all(["agent-1", "10.80.0.99", "agent-2"].map(explain));
    expect(limited).toMatch(/limit: 20000 kbit\/s .* \(policy\.json:\d+\)/);
    expect(other).toContain("limit: 500 kbit/s");
    expect(free).not.toContain("limit:");
  });

  test("a commit with another limit is in force once it is confirmed, and the old one is gone", async () => {
    await gateway.commit(policyWith({ agent1: 3000, everyone: 500 }));
    const result = await gateway.sync();
    expect(result, result.message).toMatchObject({ ok: true, outcome: "confirmed" });
    await expectRates([3000], async () => [rateOf(await lab.client("agent1").upload(SINK.v4, timing))]);
    const budgets = await lab.execChecked("gateway", ["nft", "list", "set", "inet", "clawgress", "budgets"]);
    expect(budgets.match(/limit rate over \d+/g)).toEqual(["limit rate over 1", "limit rate over 375000"]);
    const stats = await gateway.clawgress(["stats", "--json", "--config", gateway.configFile]);
    expect(JSON.parse(stats.stdout).packets.over_limit).toBeGreaterThan(0);
  });
});
