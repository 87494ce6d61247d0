import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";
import { afterEach, expect, test } from "vitest";
import { monotonicMs } from "../../../agent/host/clock.ts";
import { createMachineTurn } from "../../../agent/host/machine-turn.ts";
import { findListener, readProcess } from "../../../agent/host/process-table.ts";

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
const bundled = buildSync({
  stdin: {
    contents: `
      import { spawn } from "node:child_process";
      import { createMachineTurn } from "./machine-turn.ts";
      void createMachineTurn(process.argv[1])(async () => {
        console.log(spawn("sleep", ["600"]).pid);
        await new Promise(() => setInterval(() => {}, 1000));
      });`,
    resolveDir: fileURLToPath(new URL("../../../agent/host", import.meta.url)),
  },
  ...{ bundle: true, platform: "node", format: "esm", write: false },
}).outputFiles[0]?.text;

/** Starts a process that takes a turn and waits for a program that never ends. */
async function startHolder(path: string): Promise<{ readonly pid: number; readonly program: number }> {
  const argv = ["--input-type=module", "-e", bundled ?? "", path];
  const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"], detached: true });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const [pid, program] = [child.pid ?? -1, Number(line.toString())];
  children.push(pid, program);
  return { pid, program };
}

const freshPath = (): string => join(tmpdir(), `cgturn-${randomBytes(8).toString("hex")}`);

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
  const held = one?.(() => new Promise<void>((resolve) => (letGo = resolve)));
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
  expect((await findListener(path))?.pid).toBe(pid);
  expect(await findListener(freshPath())).toBeNull();
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
