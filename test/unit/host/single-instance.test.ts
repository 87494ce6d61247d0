import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sleepMs } from "../../../agent/host/clock.ts";
import { findLockHolder } from "../../../agent/host/file-lock.ts";
import { lockInstance } from "../../../agent/host/single-instance.ts";

let folder: string;
let path: string;
let other: ChildProcess | null;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "clawgress-lock-"));
  path = join(folder, "state", "agent.lock");
  other = null;
});
afterEach(async () => {
  other?.kill("SIGKILL");
  await rm(folder, { recursive: true });
});

/** Starts another process that holds the lock. */
async function holdElsewhere(argv: readonly string[] = []): Promise<ChildProcess> {
  const module = new URL("../../../agent/host/single-instance.ts", import.meta.url).pathname;
  const program = `import { lockInstance } from ${JSON.stringify(module)}; await lockInstance(${JSON.stringify(path)}); setInterval(() => {}, 1000);`;
  const script = join(folder, "hold.ts");
  await writeFile(script, program);
  const { build } = await import("esbuild");
  await build({
    entryPoints: [script],
    outfile: join(folder, "hold.mjs"),
    bundle: true,
    platform: "node",
    format: "esm",
    logLevel: "error",
  });
  const [command = process.execPath, ...args] = [...argv, process.execPath, join(folder, "hold.mjs")];
  other = spawn(command, args, { stdio: "inherit" });
  for (let attempt = 0; (await findLockHolder(path)) === null && attempt < 200; attempt += 1) await sleepMs(25);
  return other;
}

const locked = expect.objectContaining({ code: "STATE_LOCKED", remedy: expect.any(String) });

test("one holds it at a time", async () => {
  const first = await lockInstance(path);
  await expect(lockInstance(path)).rejects.toEqual(locked);
  await first.release();
  await (await lockInstance(path)).release();
});

test("GE22: a holder that was killed holds it no longer, and leaves nothing", async () => {
  const holder = await holdElsewhere();
  await expect(lockInstance(path)).rejects.toEqual(locked);
  holder.kill("SIGKILL");
  await once(holder, "exit");
  const lock = await lockInstance(path);
  expect(await readdir(join(folder, "state"))).toEqual(["agent.lock"]);
  await lock.release();
});

test.runIf(process.getuid?.() === 0)("a holder in another network namespace holds it too", async () => {
  await holdElsewhere(["unshare", "--net"]);
  await expect(lockInstance(path)).rejects.toEqual(locked);
});

test("a lock that its holder removed belongs to nobody", async () => {
  const removed = await lockInstance(path);
  await rm(path);
  const next = await lockInstance(path);
  await expect(lockInstance(path)).rejects.toEqual(locked);
  await Promise.all([removed.release(), next.release()]);
});

test("GE22: of many who want it once its holder was killed, one gets it", async () => {
  const holder = await holdElsewhere();
  holder.kill("SIGKILL");
  await once(holder, "exit");
  const results = await Promise.allSettled([1, 2, 3, 4].map(() => lockInstance(path)));
  expect(results.filter(({ status }) => status === "fulfilled").length).toBe(1);
});
