import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sleepMs } from "../../../agent/host/clock.ts";
import { findDaemon, startDaemon, stopDaemon } from "../../../agent/host/daemon.ts";

let folder: string;
let pidFile: string;
let started: number[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "clawgress-daemon-"));
  pidFile = join(folder, "it.pid.json");
  started = [];
});
afterEach(async () => {
  for (const pid of started) if (await isRunning(pid)) process.kill(pid, "SIGKILL");
  await rm(folder, { recursive: true });
});

async function start(argv: readonly [string, ...string[]] = ["sleep", "60"]): Promise<number> {
  const uid = process.getuid?.() ?? 0;
  const pid = await startDaemon(argv, { pidFile, logFile: join(folder, "it.log"), cwd: "/", uid });
  started.push(pid);
  return pid;
}

async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return stat !== "" && !/\) Z /.test(stat);
}

describe("a daemon", () => {
  test("is found until it is stopped", async () => {
    expect(await findDaemon(pidFile)).toBeNull();
    const pid = await start();
    expect(await findDaemon(pidFile)).toBe(pid);
    await stopDaemon(pidFile, 2_000);
    expect(await findDaemon(pidFile)).toBeNull();
    expect(await isRunning(pid)).toBe(false);
  });

  test("that ignores SIGTERM is killed after the grace time", async () => {
    const pid = await start(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]);
    await sleepMs(100);
    await stopDaemon(pidFile, 100);
    await sleepMs(50);
    expect(await isRunning(pid)).toBe(false);
  });

  test("is not what a later process with its pid is", async () => {
    const pid = await start();
    await writeFile(pidFile, JSON.stringify({ pid, startTicks: "1" }));
    expect(await findDaemon(pidFile)).toBeNull();
    await stopDaemon(pidFile, 10);
    expect(await isRunning(pid)).toBe(true);
  });

  test.each(["", "{", "{}", '{"pid":"1","startTicks":1}'])("is not found by the pid file %j", async (text) => {
    await writeFile(pidFile, text);
    expect(await findDaemon(pidFile)).toBeNull();
  });

  test("whose starter was killed before it wrote the pid file is ended before another is started", async () => {
    const lost = await start();
    await rm(pidFile);
    const other = await start();
    expect(await isRunning(lost)).toBe(false);
    expect(await isRunning(other)).toBe(true);
    expect(await findDaemon(pidFile)).toBe(other);
  });

  test("of another pid file is left alone", async () => {
    const mine = await start();
    pidFile = join(folder, "other.pid.json");
    await start();
    expect(await isRunning(mine)).toBe(true);
  });
});
