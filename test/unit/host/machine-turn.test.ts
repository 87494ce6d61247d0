import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";
import { afterAll, afterEach, expect, test } from "vitest";
import { monotonicMs } from "../../../agent/host/clock.ts";
import { findLockHolder } from "../../../agent/host/file-lock.ts";
import { createMachineTurn } from "../../../agent/host/machine-turn.ts";
import { readProcess } from "../../../agent/host/process-table.ts";

const patience = { stoppedMs: 300, runningMs: 2_000 };
const children: number[] = [];

afterEach(() => {
  for (const pid of children.splice(0)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended, as it should.
    }
  }
});

/** The lock as a program that Node runs without our tools. */
const bundle = (contents: string): string =>
  buildSync({
    stdin: { contents, resolveDir: fileURLToPath(new URL("../../../agent/host", import.meta.url)) },
    ...{ bundle: true, platform: "node", format: "esm", write: false },
  }).outputFiles[0]?.text ?? "";

const bundled = bundle(`
      import { spawn } from "node:child_process";
      import { createMachineTurn } from "./machine-turn.ts";
      void createMachineTurn(process.argv[1])(async () => {
        console.log(spawn("sleep", ["600"]).pid);
        await new Promise(() => setInterval(() => {}, 1000));
      });`);

/** Starts a process that takes a turn and waits for a program that never ends. */
async function startHolder(path: string): Promise<{ readonly pid: number; readonly program: number }> {
  const argv = ["--input-type=module", "-e", bundled, path];
  const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"], detached: true });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const [pid, program] = [child.pid ?? -1, Number(line.toString())];
  children.push(pid, program);
  return { pid, program };
}

const folder = mkdtempSync(join(tmpdir(), "clawgress-turn-"));
afterAll(() => rmSync(folder, { recursive: true }));
const freshPath = (): string => join(folder, randomBytes(8).toString("hex"));

test("work of one process is done one after the other", async () => {
  const turn = createMachineTurn(freshPath(), patience);
  const order: string[] = [];
  await Promise.all(
    ["a", "b", "c"].map((name) =>
      turn(async () => {
        order.push(`${name} begins`);
        await new Promise((resolve) => setTimeout(resolve, 5));
        order.push(`${name} ends`);
      }),
    ),
  );
  expect(order).toEqual(["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]);
});

test("work that fails lets go", async () => {
  const turn = createMachineTurn(freshPath(), patience);
  await expect(turn(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(await turn(async () => "yes")).toBe("yes");
});

test("two turns of one path exclude each other, two of different paths do not", async () => {
  const path = freshPath();
  const [one, two, other] = [path, path, freshPath()].map((at) => createMachineTurn(at, patience));
  let letGo = (): void => {};
  let held: Promise<void> | undefined;
  await new Promise<void>((begins) => {
    held = one?.(() => {
      begins();
      return new Promise<void>((resolve) => (letGo = resolve));
    });
  });
  const waiting = two?.(async () => monotonicMs());
  await other?.(async () => {});
  const letGoMs = monotonicMs();
  letGo();
  await held;
  expect(await waiting).toBeGreaterThanOrEqual(letGoMs);
});

test("the kernel tells who holds it", async () => {
  const path = freshPath();
  const { pid } = await startHolder(path);
  expect((await findLockHolder(path))?.pid).toBe(pid);
  expect(await findLockHolder(freshPath())).toBeNull();
});

test("of many processes that die in their turn, no two have it at once", async () => {
  const path = freshPath();
  const trace = freshPath();
  // Each takes turns and then dies in one, so that the next finds a lock that nobody let go of.
  const one = `
    import { appendFileSync } from "node:fs";
    import { createMachineTurn } from "./machine-turn.ts";
    const [path, trace, diesAtMs] = process.argv.slice(1);
    const turn = createMachineTurn(path);
    const until = Date.now() + Number(diesAtMs);
    while (true) await turn(async () => {
      appendFileSync(trace, "begins\\n");
      await new Promise((resolve) => setTimeout(resolve, 2));
      appendFileSync(trace, "ends\\n");
      if (Date.now() > until) process.kill(process.pid, "SIGKILL");
    });`;
  const program = bundle(one);
  const rounds = Array.from({ length: 24 }, (_, index) => 150 + ((index * 37) % 200));
  const workers = Array.from({ length: 4 }, async (_, worker) => {
    for (const diesAtMs of rounds.slice(worker * 6, worker * 6 + 6)) {
      const argv = ["--input-type=module", "-e", program, path, trace, String(diesAtMs)];
      await once(spawn(process.execPath, argv, { stdio: ["ignore", "ignore", "inherit"] }), "exit");
    }
  });
  await Promise.all(workers);
  const lines = readFileSync(trace, "utf8").trim().split("\n");
  expect(lines.length).toBeGreaterThan(100);
  expect(lines.filter((line, index) => line !== (index % 2 === 0 ? "begins" : "ends"))).toEqual([]);
});

test("a holder that dies lets go at once", async () => {
  const path = freshPath();
  const { pid } = await startHolder(path);
  const turn = createMachineTurn(path, { stoppedMs: 60_000, runningMs: 60_000 });
  const waiting = turn(async () => "mine");
  process.kill(pid, "SIGKILL");
  expect(await waiting).toBe("mine");
});

test.each([
  ["is stopped", "SIGSTOP", 300, 1_900],
  ["runs on and on", "SIGCONT", 2_000, 8_000],
] as const)("a holder that %s is ended with the program it waits for", async (_, signal, atLeastMs, atMostMs) => {
  const path = freshPath();
  const { pid, program } = await startHolder(path);
  process.kill(pid, signal);
  const startedMs = monotonicMs();
  await createMachineTurn(
    path,
    patience,
  )(async () => {
    expect(await readProcess(pid)).toBeNull();
    expect(await readProcess(program)).toBeNull();
  });
  expect(monotonicMs() - startedMs).toBeGreaterThan(atLeastMs);
  expect(monotonicMs() - startedMs).toBeLessThan(atMostMs);
});
