import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { groupMarks, nameGrantText } from "../../agent/compile/grants.ts";
import { assignMark, NAME_GRANT_MAX, NAME_GRANT_MIN } from "../../agent/compile/marks.ts";
import { windowSets } from "../../agent/compile/nft-hours.ts";
import { policySchedules } from "../../agent/compile/policy-hours.ts";
import type { GateRelease } from "../../agent/compile/release.ts";
import { createHoursKeeper } from "../../agent/gate/hours-keeper.ts";
import { createTrustedClock } from "../../agent/gate/trusted-clock.ts";
import { type WindowElement, windowText } from "../../agent/gate/window-plan.ts";
import { sleepMs } from "../../agent/host/clock.ts";
import type { Policy } from "../../agent/policy/policy.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { type Datapath, raiseDatapath } from "../support/datapath.ts";
import { fateOf, openStream } from "../support/streams.ts";

/**
 * What the kernel alone does with hours, with no process of ours running: an element holds within its interval of the
 * wall clock and until its timeout, whichever ends first. `npm run kernel` asks Debian 12's own kernel the same.
 */

let lab: Lab;
let datapath: Datapath;
let policy: Policy;

const far = { network: ["203.0.113.13", "2001:db8:1::d"], denied: ["203.0.113.14", "2001:db8:1::e"] } as const;
const https = { protocol: "tcp", first: 80, last: 80 } as const;

beforeAll(async () => {
  lab = await startLab();
  datapath = await raiseDatapath(lab);
  const loaded = await datapath.load({
    version: 1,
    allow: { domains: ["a.allowed.test"], ips: ["203.0.113.12/32", "2001:db8:1::c/128"], ports: [80] },
    hosts: {
      one: {
        sources: ["10.80.0.10/32", "fd80::10/128"],
        allow: {
          domains: ["a.allowed.test"],
          ips: ["203.0.113.13/32", "2001:db8:1::d/128", "203.0.113.14/32", "2001:db8:1::e/128"],
          ports: [80, "7001/udp"],
        },
        deny: {
          ips: [
            { network: "203.0.113.14/32", expires: "2030-01-01" },
            { network: "2001:db8:1::e/128", expires: "2030-01-01" },
          ],
        },
        time_window: { start: "08:00", end: "18:00" },
      },
    },
  });
  policy = loaded.policy;
});
afterAll(async () => {
  await lab?.stop();
});

const nowS = (): number => Date.now() / 1000;
/** The mark of the host's hours, or of the end of its denials. */
const markOf = (beginning: "daily" | "from"): number => {
  const found = [...policySchedules(policy)].find(([text]) => text.startsWith(beginning));
  if (found === undefined) throw new Error(`no schedule begins with ${beginning}`);
  return found[1].mark;
};
const put = (...elements: readonly WindowElement[]): Promise<void> =>
  datapath.nft(windowText(elements, "window", true));
const hours = (fromS: number, untilS: number, leftS: number): WindowElement => ({
  mark: markOf("daily"),
  fromS,
  untilS,
  leftS,
});
const client = () => lab.client("agent1");
const outcomes = async (addresses: readonly string[]): Promise<readonly string[]> =>
  await Promise.all(addresses.map(async (address) => (await client().connect(address, 80)).outcome));

/** Three connections at once, in seconds: a machine in an emulator takes its time, and so do the tests on it. */
let roundS: number;

describe("a grant that is open at times", () => {
  beforeAll(async () => {
    const startS = nowS();
    await outcomes([...far.network, "203.0.113.12"]);
    roundS = nowS() - startS;
  });

  test("is closed while nobody has said when, and what has no hours is open", async () => {
    await put();
    expect(await outcomes(far.network)).toEqual(["refused", "refused"]);
    const other = await Promise.all(
      ["203.0.113.12", "2001:db8:1::c"].map((address) => lab.client("agent2").connect(address, 80)),
    );
    expect(other.map(({ outcome }) => outcome)).toEqual(["connected", "connected"]);
  });

  test("is closed outside of its interval of the wall clock, however much time is left", async () => {
    // A machine that was asleep: the timeout stood still.
    await put(hours(nowS() - 100, nowS() - 1, 3600));
    expect(await outcomes(far.network)).toEqual(["refused", "refused"]);
    await put(hours(nowS() + 100, nowS() + 200, 3600));
    expect(await outcomes(far.network)).toEqual(["refused", "refused"]);
  });

  test("closes with its timeout, though the wall clock says that it is open", async () => {
    // A clock that was put back.
    const leftS = Math.ceil(3 + 4 * roundS);
    await put(hours(nowS() - 100, nowS() + 3600, leftS));
    const stream = await client().stream("203.0.113.13", 80);
    if (stream.outcome !== "connected") throw new Error(JSON.stringify(stream));
    expect(await outcomes(far.network)).toEqual(["connected", "connected"]);
    await sleepMs((leftS + 1.5) * 1000);
    expect(await outcomes(far.network)).toEqual(["refused", "refused"]);
    expect((await stream.stream.state()).silentMs).toBeGreaterThan(800);
    await stream.stream.close();
  });

  test("opens and closes by the wall clock to the second, for names too, and ends what runs", async () => {
    const grant = assignMark(nameGrantText("a.allowed.test", https), NAME_GRANT_MIN, NAME_GRANT_MAX, () => false);
    const pair = `${groupMarks(policy).get("one")} . ${grant}`;
    await datapath.pin({
      ...{ policy, group: "one", client: "10.80.0.10", name: "a.allowed.test", address: "203.0.113.10", range: https },
      ...{ timeoutS: 600, live: false },
    });
    await datapath.nft(`add element inet clawgress name_hours { ${pair} : ${markOf("daily")} }`);
    const startS = Math.ceil(nowS() + 2 + 4 * roundS);
    const endS = Math.ceil(startS + 3 + 6 * roundS);
    await put(hours(startS, endS, 600));
    const targets = [...far.network, "203.0.113.10"];
    expect(await outcomes(targets)).toEqual(["refused", "refused", "refused"]);
    await sleepMs((startS + 0.2 - nowS()) * 1000);
    expect(await outcomes(targets)).toEqual(["connected", "connected", "connected"]);
    expect(await client().udp("203.0.113.13", 7001)).toMatchObject({ outcome: "answered" });
    const streams = await Promise.all(targets.map((address) => client().stream(address, 80)));
    expect(nowS(), "all this took too long to see it open").toBeLessThan(endS);
    await sleepMs((endS + 0.2 - nowS()) * 1000);
    await lab.mark();
    expect(await outcomes(targets)).toEqual(["refused", "refused", "refused"]);
    expect(await client().udp("203.0.113.13", 7001)).not.toMatchObject({ outcome: "answered" });
    await sleepMs(1000);
    for (const result of streams) {
      if (result.outcome !== "connected") throw new Error(JSON.stringify(result));
      const { state, silentMs } = await result.stream.state();
      expect(state !== "open" || silentMs > 800).toBe(true);
      await result.stream.close();
    }
    expect(await lab.packets({ to: "203.0.113.13", protocol: "udp" })).toMatchObject({ packets: 0 });
  });

  test("has its times anew at any moment, and nothing of what runs falls between", async () => {
    await put(hours(nowS() - 100, nowS() + 3600, 3600));
    const clock = createTrustedClock({ wallS: nowS, monotonicS: () => performance.now() / 1000 }, null);
    const keeper = createHoursKeeper(clock, {
      load: datapath.nft,
      isFilled: async (set) => (await datapath.list("set", "inet", "clawgress", set)).includes("elements ="),
    });
    const schedule = { windows: [], fromS: nowS() - 100, untilS: nowS() + 3600 };
    const release = { schedules: { open: { mark: markOf("daily"), schedule } } } as unknown as GateRelease;
    const streams = await Promise.all(
      [...far.network, ...far.network].map((address) =>
        openStream(client(), address, 80, address.includes(":") ? 6 : 4),
      ),
    );
    for (let round = 0; round < 30; round++) await keeper.rewrite(release);
    expect(await Promise.all(streams.map(fateOf))).toEqual(Array(4).fill("goes on"));
    expect(await outcomes(far.network)).toEqual(["connected", "connected"]);
    for (const stream of streams) await stream.close();
    await datapath.nft(windowSets.map((set) => windowText([], set, true)).join(""));
  });
});

describe("a denial that ends", () => {
  test("denies until somebody has said when it ends, and from then on not", async () => {
    const open = hours(nowS() - 100, nowS() + 3600, 3600);
    await put(open);
    expect(await outcomes(far.denied)).toEqual(["refused", "refused"]);
    const lapse = (fromS: number): WindowElement => ({
      mark: markOf("from"),
      fromS,
      untilS: Number.POSITIVE_INFINITY,
      leftS: Number.POSITIVE_INFINITY,
    });
    await put(open, lapse(nowS() + 3600));
    expect(await outcomes(far.denied)).toEqual(["refused", "refused"]);
    await put(open, lapse(nowS() - 1));
    expect(await outcomes(far.denied)).toEqual(["connected", "connected"]);
    // And not beyond the hours.
    await put(lapse(nowS() - 1));
    expect(await outcomes(far.denied)).toEqual(["refused", "refused"]);
  });
});
