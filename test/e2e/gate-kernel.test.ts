import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { KernelChange } from "../../agent/gate/kernel-change.ts";
import { runChecked } from "../../agent/host/run.ts";
import { PATIENCE } from "../support/eventually.ts";

const namespace = `cgk${process.pid}`;
const limits = { timeoutMs: 30_000 * PATIENCE };
let folder = "";

const table = `table inet clawgress {
  map pin4 { type ipv4_addr . ipv4_addr . mark : mark; flags timeout; }
  map pin6 { type ipv6_addr . ipv6_addr . mark : mark; flags timeout; }
  map group_pin4 { type mark . ipv4_addr . mark : mark; flags timeout; }
  map group_pin6 { type mark . ipv6_addr . mark : mark; flags timeout; }
  set live { type mark . mark; flags timeout; }
  map exfil_of { type mark . mark : mark; }
  map name_hours { type mark . mark : mark; }
}
`;
const inside = (...argv: string[]): [string, ...string[]] => ["ip", "netns", "exec", namespace, ...argv];
const list = async (): Promise<string> => {
  const text = await runChecked(inside("nft", "list", "table", "inet", "clawgress"), limits);
  return text.replace(/ expires [0-9a-z]+/g, "");
};
/** Writes members one after the other and returns the outcome of each. */
const write = async (
  by: "netlink" | "nft",
  members: readonly (readonly KernelChange[])[],
): Promise<readonly string[]> => {
  const stdin = JSON.stringify(members);
  const text = await runChecked(inside("node", join(folder, "write.mjs"), by), { ...limits, stdin });
  return JSON.parse(text) as readonly string[];
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "clawgress-kernel-"));
  await writeFile(join(folder, "package.json"), "{}");
  await runChecked(["ln", "-s", join(process.cwd(), "node_modules"), join(folder, "node_modules")], limits);
  await bundle(
    "write.mjs",
    `import { createKernelWriter, openKernelWriter } from "./agent/gate/kernel-writer.ts";
import { runChecked } from "./agent/host/run.ts";
import { stepsText } from "./test/support/steps-text.ts";
import { readFileSync } from "node:fs";
const [by, members] = [process.argv[2], readFileSync(0, "utf8")];
const commit = (steps) => runChecked(["nft", "-f", "-"], { timeoutMs: 10_000, stdin: stepsText(steps) });
const writer = by === "nft" ? createKernelWriter(commit) : await openKernelWriter();
const outcomes = await Promise.allSettled(JSON.parse(members).map((changes) => writer.write(changes)));
console.log(JSON.stringify(outcomes.map(({ status, reason }) => reason?.message ?? status)));`,
  );
  await bundle(
    "read.mjs",
    `import { readFlowMarks } from "./agent/gate/flow-marks.ts";
import { readKernelState } from "./agent/gate/kernel-read.ts";
import { openNftables } from "./agent/host/nftables.ts";
import { sleepMs } from "./agent/host/clock.ts";
const nftables = await openNftables();
const residentMb = [];
let pins = [];
for (let time = 0; time < Number(process.argv[2]); time += 1) {
  pins = (await readKernelState(nftables)).pins;
  // What was needed for it is given back on another thread.
  await sleepMs(200);
  residentMb.push(process.memoryUsage().rss / 2 ** 20);
}
console.log(JSON.stringify({ marks: [...await readFlowMarks()], pins: pins.length, first: pins[0], residentMb }));`,
  );
  await runChecked(["ip", "netns", "add", namespace], limits);
});

async function bundle(name: string, contents: string): Promise<void> {
  await build({
    stdin: { contents, resolveDir: process.cwd(), loader: "ts" },
    bundle: true,
    platform: "node",
    format: "esm",
    external: ["koffi"],
    outfile: join(folder, name),
    logLevel: "warning",
  });
}

afterAll(async () => {
  await runChecked(["ip", "netns", "del", namespace], limits);
  await rm(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  await runChecked(inside("nft", "-f", "-"), {
    ...limits,
    stdin: `table inet clawgress\ndelete table inet clawgress\n${table}`,
  });
});

const pin = (address: string, before: number, grant: number, timeoutS = 90): KernelChange => ({
  kind: "pin",
  family: address.includes(":") ? 6 : 4,
  owner: address.includes(":") ? "fd00::1" : "10.0.0.1",
  address,
  portClass: 0xffff,
  before,
  grant,
  timeoutS,
});
const unpin = (address: string, before: number): KernelChange => {
  const { family, owner, portClass } = pin(address, before, before) as Extract<KernelChange, { kind: "pin" }>;
  return { kind: "unpin", family, owner, address, portClass, before };
};

test("both writers leave the same in the kernel", async () => {
  const members: KernelChange[][] = [
    [
      { kind: "live", group: 1, grant: 0x3fff_ffff },
      pin("192.0.2.1", 0x1_0000, 0x1_0000),
      { ...pin("2001:db8::7", 0x1_0000, 0x1_0000), owner: "#1073741823" } as KernelChange,
      pin("192.0.2.2", 0x1_0001, 0x1_0001),
    ],
    [pin("2001:db8::1", 0x3fff_ffff, 0x3fff_ffff, 360), { kind: "live", group: 0x3fff_ffff, grant: 0x1_0000 }],
    // Another grant and another timeout for what is there; taking back what is there, and what is not.
    [pin("192.0.2.1", 0x1_0000, 0x1_0007, 300), unpin("192.0.2.2", 0x1_0001), unpin("192.0.2.3", 0x1_0001)],
    [
      { kind: "unlive", group: 1, grant: 0x3fff_ffff },
      { kind: "unlive", group: 2, grant: 0x1_0000 },
    ],
  ];
  const fulfilled = members.map(() => "fulfilled");
  expect(await write("nft", members)).toEqual(fulfilled);
  const byProgram = await list();
  await runChecked(inside("nft", "-f", "-"), { ...limits, stdin: `delete table inet clawgress\n${table}` });
  expect(await write("netlink", members)).toEqual(fulfilled);
  expect(await list()).toBe(byProgram);
  expect(byProgram).toContain("10.0.0.1 . 192.0.2.1 . 0x0000ffff timeout 5m : 0x00010007");
  expect(byProgram).toContain("fd00::1 . 2001:db8::1 . 0x0000ffff timeout 6m : 0x3fffffff");
  expect(byProgram).not.toContain("192.0.2.2");
  expect(byProgram).not.toContain("192.0.2.3");
  expect(byProgram.match(/elements = \{ 0x[0-9a-f. x]+ \}/)?.[0]).toBe("elements = { 0x3fffffff . 0x00010000 }");
});

test.each(["netlink", "nft"] as const)(
  "by %s, a transaction that fails changes nothing, and its neighbours succeed",
  async (by) => {
    await write(by, [[pin("192.0.2.9", 70_000, 70_000)]]);
    const outcomes = await write(by, [
      [pin("192.0.2.1", 70_001, 70_001)],
      [pin("192.0.2.2", 70_001, 70_001)],
      // The element carries 70000, not what the ledger thinks.
      [pin("192.0.2.3", 70_001, 70_001), pin("192.0.2.9", 70_666, 70_001)],
      [pin("192.0.2.4", 70_001, 70_001)],
    ]);
    expect(outcomes.map((outcome) => outcome === "fulfilled")).toEqual([true, true, false, true]);
    if (by === "netlink") expect(outcomes[2]).toMatch(/EEXIST|EBUSY/);
    const text = await list();
    for (const kept of [
      "192.0.2.1 ",
      "192.0.2.2 ",
      "192.0.2.4 ",
      "192.0.2.9 . 0x0000ffff timeout 1m30s : 0x00011170",
    ]) {
      expect(text).toContain(kept);
    }
    expect(text).not.toContain("192.0.2.3");
  },
);

test("a transaction larger than an attribute can be is still one", async () => {
  const many = Array.from({ length: 1200 }, (_, index) => pin(`198.18.${index >> 8}.${index & 255}`, 70_000, 70_000));
  expect(await write("netlink", [[...many, pin("192.0.2.1", 70_000, 70_000)]])).toEqual(["fulfilled"]);
  expect((await list()).match(/198\.18\./g)).toHaveLength(1200);
  const clash = many.map((change) => ({ ...change, client: "10.0.0.2" }));
  const last = pin("192.0.2.1", 70_666, 70_000);
  expect((await write("netlink", [[...clash, last]]))[0]).toMatch(/refused/);
  expect((await list()).match(/198\.18\./g)).toHaveLength(1200);
});

test("without the table nothing is acknowledged", async () => {
  await runChecked(inside("nft", "delete", "table", "inet", "clawgress"), limits);
  expect(await write("netlink", [[pin("192.0.2.1", 70_000, 70_000)]])).toEqual(["nf_tables refused: ENOENT"]);
});

const read = async (times: number): Promise<{ marks: number[]; pins: number; first?: object; residentMb: number[] }> =>
  JSON.parse(await runChecked(inside("node", join(folder, "read.mjs"), String(times)), limits));

test("the marks of all tracked flows are read, of both families, over several datagrams", async () => {
  expect((await read(0)).marks).toEqual([]);
  const flow = (family: 4 | 6, index: number): string => {
    const [from, to] = family === 4 ? ["10.0.0.1", "192.0.2.1"] : ["fd00::1", "2001:db8::1"];
    const ports = `--sport ${1024 + index} --dport 443`;
    return `-I -p tcp -s ${from} -d ${to} ${ports} --state ESTABLISHED -t 120 -m ${(family === 4 ? 0x1_0000 : 0x2000_0000) + index}\n`;
  };
  const flows = Array.from({ length: 1500 }, (_, index) => flow(index % 2 === 0 ? 4 : 6, index));
  await writeFile(join(folder, "flows"), flows.join(""));
  await runChecked(inside("conntrack", "--load-file", join(folder, "flows")), limits);
  const { marks } = await read(0);
  expect(marks).toHaveLength(1500);
  expect(marks).toEqual(expect.arrayContaining([0x1_0000, 0x1_0000 + 1498, 0x2000_0000 + 1499]));
});

test("a large state is read again and again in the same memory", async () => {
  const many = Array.from({ length: 20_000 }, (_, index) => pin(`198.18.${index >> 8}.${index & 255}`, 7, 70_000, 600));
  expect(await write("netlink", [many])).toEqual(["fulfilled"]);
  const { pins, first, residentMb } = await read(8);
  expect(pins).toBe(20_000);
  expect(first).toMatchObject({ family: 4, owner: "10.0.0.1", portClass: 0xffff, grant: 70_000 });
  expect(Math.max(...residentMb.slice(4))).toBeLessThan(Math.max(...residentMb.slice(0, 4)) * 1.3);
});
