import { type ChildProcess, spawn } from "node:child_process";
import { access, mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import { runChecked } from "../../agent/host/run.ts";
import { startLab } from "../lab/lab.ts";
import { packageRoot } from "../lab/processes.ts";
import { openGateway } from "../support/open-gateway.ts";

/** What is left of a lab: namespaces, resolver files, processes that carry its mark, its folder. */
async function leftovers(id: string, folder: string): Promise<readonly string[]> {
  const spaces = (await runChecked(["ip", "netns", "list"], { timeoutMs: 5000 })).split("\n");
  const resolvers = await readdir("/etc/netns").catch(() => []);
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const environments = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/environ`, "latin1").catch(() => "")));
  const marked = pids.filter((_, index) => environments[index]?.includes(`CLAWGRESS_LAB=${id}`));
  const folderLeft = await access(folder).then(
    () => [folder],
    () => [],
  );
  return [
    ...spaces.filter((name) => name.startsWith(`cg${id}-`)),
    ...resolvers.filter((name) => name.startsWith(`cg${id}-`)),
    ...marked.map((pid) => `process ${pid}`),
    ...folderLeft,
  ];
}

let program: string;
let temporary: string;
const owners: ChildProcess[] = [];

beforeAll(async () => {
  // Below the package's folder, where the bundle finds the lab's own programs.
  const cache = join(packageRoot(), "node_modules", ".cache");
  await mkdir(cache, { recursive: true });
  program = join(cache, `lab-${process.pid}.mjs`);
  await build({
    entryPoints: [join(packageRoot(), "test", "lab", "main.ts")],
    outfile: program,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    logLevel: "silent",
  });
  temporary = await mkdtemp(join(tmpdir(), "lab-owner-"));
});

afterAll(async () => {
  for (const owner of owners) owner.kill("SIGKILL");
  await rm(program, { force: true });
  await rm(temporary, { recursive: true, force: true });
});

interface Owner {
  readonly child: ChildProcess;
  readonly output: () => string;
  /** The lab's id and folder, known as soon as the folder exists. */
  readonly identify: () => Promise<{ readonly id: string; readonly folder: string }>;
}

/** Starts `npm run lab` with a temporary folder of its own, so that its lab is told from others. */
async function startOwner(): Promise<Owner> {
  const own = await mkdtemp(join(temporary, "run-"));
  const child = spawn(process.execPath, [program], {
    env: { ...process.env, TMPDIR: own },
    stdio: ["ignore", "pipe", "inherit"],
  });
  owners.push(child);
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString("utf8");
  });
  const identify = async () => {
    for (let attempt = 0; attempt < 500; attempt += 1) {
      const [name] = await readdir(own);
      const id = name?.split("-")[2];
      if (name !== undefined && id !== undefined) return { id, folder: join(own, name) };
      await sleepMs(5);
    }
    throw new Error("the owner made no lab");
  };
  return { child, output: () => output, identify };
}

describe("stop", () => {
  test("takes two labs down one by one, and neither touches the other", async () => {
    const [first, second] = await Promise.all([startLab(), startLab()]);
    try {
      await Promise.all([openGateway(first), openGateway(second)]);
      const reach = (lab: typeof first) => lab.client("agent1").get("www.allowed.test", 443);
      for (const lab of [first, second]) expect(await reach(lab)).toMatchObject({ outcome: "connected", status: 200 });
      await first.mark();
      await reach(second);
      expect((await first.packets()).packets).toBe(0);
      await first.stop();
      expect(await leftovers(first.id, first.folder)).toEqual([]);
      expect(await reach(second)).toMatchObject({ outcome: "connected", status: 200 });
    } finally {
      await Promise.all([first.stop(), second.stop()]);
    }
    expect(await leftovers(second.id, second.folder)).toEqual([]);
  });

  test("ends stubborn programs, their daemons and namespaces that a test made", async () => {
    const lab = await startLab();
    try {
      await runChecked(["ip", "netns", "add", `${lab.prefix}extra`], { timeoutMs: 5000 });
      const script =
        "trap '' TERM HUP INT; setsid nsenter --net=/proc/1/ns/net sleep 600 & echo ready; while :; do sleep 1; done";
      const stubborn = lab.spawn("gateway", ["bash", "-c", script]);
      await expect.poll(() => stubborn.output()).toContain("ready");
      expect(await leftovers(lab.id, lab.folder)).toContain(`cg${lab.id}-extra`);
    } finally {
      await lab.stop();
    }
    expect(await leftovers(lab.id, lab.folder)).toEqual([]);
  });

  test("works though somebody killed the watcher", async () => {
    const lab = await startLab();
    const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
    for (const pid of pids) {
      const command = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
      if (command.includes("watcher.mjs") && command.includes(lab.folder)) process.kill(Number(pid), "SIGKILL");
    }
    await lab.stop();
    expect(await leftovers(lab.id, lab.folder)).toEqual([]);
  });
});

describe("an owner that ends", () => {
  test.each([["SIGINT"], ["SIGTERM"], ["SIGKILL"]] as const)("by %s leaves nothing behind", async (signal) => {
    const owner = await startOwner();
    const { id, folder } = await owner.identify();
    await expect.poll(owner.output, { timeout: 20_000 }).toContain("Ctrl-C takes it down");
    expect((await leftovers(id, folder)).length).toBeGreaterThan(10);
    owner.child.kill(signal);
    await expect.poll(() => leftovers(id, folder), { timeout: 10_000, interval: 50 }).toEqual([]);
  });

  test.each([[5], [100], [200], [300], [450]])(
    "by SIGKILL %i ms into the bring-up leaves nothing behind",
    async (afterMs) => {
      const owner = await startOwner();
      const { id, folder } = await owner.identify();
      await sleepMs(afterMs);
      owner.child.kill("SIGKILL");
      await expect.poll(() => leftovers(id, folder), { timeout: 10_000, interval: 50 }).toEqual([]);
      // Nothing comes back either.
      await sleepMs(300);
      expect(await leftovers(id, folder)).toEqual([]);
    },
  );
});
