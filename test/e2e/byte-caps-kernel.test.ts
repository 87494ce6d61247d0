import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { markCaps } from "../../agent/compile/byte-caps.ts";
import { capText } from "../../agent/gate/cap-kernel.ts";
import type { CapChange } from "../../agent/gate/cap-ledger.ts";
import { sleepMs } from "../../agent/host/clock.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { type Datapath, raiseDatapath } from "../support/datapath.ts";

/** What byte caps rest on in the kernel: its counters, changed while they count. Runs on Debian 12's own kernel too. */

const CAP = 1_500_000;
const LARGEST_BYTES = 128 * 1024;
const FAR = { v4: "203.0.113.60", v6: "2001:db8:1::3c" } as const;
const name = "a.allowed.test";
const document = {
  version: 1,
  allow: { domains: [name], ports: [7002] },
  hosts: {
    agent: { sources: ["10.80.0.10", "fd80::10"], exfil: { domains: { [name]: { bytes: CAP, period: "day" } } } },
  },
};

let lab: Lab;
let datapath: Datapath;
let mark = 0;
/** How the kernel's map calls the grant. */
let pair: string;

beforeAll(async () => {
  lab = await startLab();
  datapath = await raiseDatapath(lab);
  const { policy } = await datapath.load(document);
  mark = markCaps(policy)[0]?.mark ?? 0;
  const range = { protocol: "tcp", first: 7002, last: 7002 } as const;
  for (const [family, client] of [
    ["v4", "10.80.0.10"],
    ["v6", "fd80::10"],
  ] as const) {
    const to = { policy, group: "agent", client, address: FAR[family], name, range, timeoutS: 3600 };
    pair = (await datapath.pin({ ...to, live: family === "v4" })).live;
  }
  await datapath.nft(`add element inet clawgress exfil_of { ${pair} : ${mark} }\n`);
});
afterAll(async () => {
  await lab?.stop();
});
beforeEach(async () => void (await lab.mark()));

const change = (...changes: readonly CapChange[]): Promise<void> => datapath.nft(capText(changes));
const begin = (bytes: number): readonly CapChange[] => [
  { kind: "create", mark, bytes, used: 0 },
  { kind: "link", mark },
];
const end = (): readonly CapChange[] => [
  { kind: "unlink", mark },
  { kind: "remove", mark },
];
const used = async (): Promise<number> => {
  const text = await lab.execChecked("gateway", ["nft", "-j", "list", "quotas", "table", "inet", "clawgress"]);
  const { nftables } = JSON.parse(text) as {
    readonly nftables: readonly { readonly quota?: { readonly used: number } }[];
  };
  return nftables.find(({ quota }) => quota !== undefined)?.quota?.used ?? -1;
};
const arrived = async (far: string): Promise<number> => (await lab.packets({ to: far, port: 7002 })).bytes;
const upload = (far: string, atKbps: number, forMs = 1_000) =>
  lab.client("agent1").upload(far, { warmUpMs: 0, forMs, atKbps, timeoutMs: 5_000 });

test("a flow whose counter is missing is refused", async () => {
  expect(await lab.client("agent1").connect(FAR.v4, 7002)).toMatchObject({ outcome: "refused" });
  expect((await lab.packets({ to: FAR.v4 })).packets).toBe(0);
});

test.each(["v4", "v6"] as const)(
  "over IP%s: not a byte over the cap leaves, and the count is the far side's",
  async (family) => {
    await change(...begin(CAP));
    expect(await upload(FAR[family], 60_000)).toMatchObject({ outcome: "connected", ended: 1 });
    expect(await arrived(FAR[family])).toBeLessThanOrEqual(CAP);
    expect(await arrived(FAR[family])).toBeGreaterThan(CAP - LARGEST_BYTES);
    expect(await used()).toBe(CAP);
    await change(...end());
  },
);

test("another size while it counts loses no byte, and ends no flow", async () => {
  await change(...begin(100 * CAP));
  const flow = upload(FAR.v4, 40_000);
  for (let size = 101; size <= 115; size += 1) {
    await change({ kind: "resize", mark, bytes: size * CAP });
    await sleepMs(20);
  }
  expect(await flow).toMatchObject({ outcome: "connected", ended: 0 });
  // The end of this flow is on its way, and perhaps that of the one before, over the other family.
  const difference = async (): Promise<number> => (await used()) - (await arrived(FAR.v4)) - (await arrived(FAR.v6));
  await expect.poll(difference, { timeout: 3_000 }).toBe(0);
  expect(await used()).toBeGreaterThan(100_000);
  await change(...end());
});

test("a new period is one transaction: no flow falls between two counters", async () => {
  await change(...begin(100 * CAP));
  const flow = upload(FAR.v4, 40_000);
  for (let period = 0; period < 15; period += 1) {
    await change(...end(), ...begin(100 * CAP));
    await sleepMs(20);
  }
  expect(await flow).toMatchObject({ outcome: "connected", ended: 0 });
  expect(await used()).toBeLessThan(await arrived(FAR.v4));
});

test("what is known to be used up is refused in both directions, and counts no more", async () => {
  const opened = await lab
    .client("agent1")
    .upload(FAR.v4, { warmUpMs: 0, forMs: 100, atKbps: 1_000, timeoutMs: 5_000 });
  expect(opened).toMatchObject({ outcome: "connected", ended: 0 });
  await change({ kind: "spend", mark });
  const before = await used();
  expect(await lab.client("agent1").connect(FAR.v4, 7002)).toMatchObject({ outcome: "refused" });
  expect(await used()).toBe(before);
  await change({ kind: "reopen", mark });
  expect(await lab.client("agent1").connect(FAR.v4, 7002)).toMatchObject({ outcome: "connected" });
});
