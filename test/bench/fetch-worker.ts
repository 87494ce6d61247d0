import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { monotonicMs } from "../../agent/host/clock.ts";
import { openTestSource } from "../support/open-test-source.ts";

export interface FetchParams {
  readonly url: string;
  readonly gitFolder: string;
  /** Poll only, this often. */
  readonly polls: number;
  /** A commit that was believed before, to be related to the head; null to fetch the head. */
  readonly floor: string | null;
}

export interface Cost {
  readonly tookMs: number;
  readonly maxRssBytes: number;
}

/** Does one thing against a server in this process, which has done nothing else. */
export async function fetchOnce({ url, gitFolder, polls, floor }: FetchParams): Promise<Cost> {
  const { source } = await openTestSource(url, { timeoutMs: 60_000 }, gitFolder);
  const { signal } = new AbortController();
  if (polls > 0) await source.poll(signal);
  const startedMs = monotonicMs();
  let times = 1;
  if (polls > 0) for (times = 0; times < polls; times++) await source.poll(signal);
  else {
    const head = await source.poll(signal);
    if (floor === null) await (await source.open(head, signal)).readFile("policy.json", 1024 * 1024);
    else if ((await source.relate(floor, head, signal)) !== "forward") throw new Error("the head does not descend");
  }
  const tookMs = (monotonicMs() - startedMs) / times;
  await source.close();
  return { tookMs, maxRssBytes: process.resourceUsage().maxRSS * 1024 };
}

/** Runs git and returns what it took, with the highest memory of the process itself that was seen every few milliseconds. */
export async function runGit(argv: readonly string[]): Promise<Cost> {
  const startedMs = monotonicMs();
  const child = spawn("git", argv, { stdio: "ignore" });
  let maxRssBytes = 0;
  const look = setInterval(() => {
    maxRssBytes = Math.max(maxRssBytes, peakOf(child.pid));
  }, 3);
  const code = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", resolve);
  });
  clearInterval(look);
  if (code !== 0) throw new Error(`git ${argv.join(" ")} ended with ${String(code)}`);
  return { tookMs: monotonicMs() - startedMs, maxRssBytes };
}

function peakOf(pid: number | undefined): number {
  try {
    const [, kib = "0"] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return Number(kib) * 1024;
  } catch {
    // It has ended.
    return 0;
  }
}
