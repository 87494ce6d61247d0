import { readdir, readFile, readlink, stat } from "node:fs/promises";
import { join } from "node:path";
import { sleepMs } from "../../agent/host/clock.ts";
import { listProcesses } from "../../agent/host/process-table.ts";

/** What a gateway uses: of each long-lived process its memory and open files, and how much there is of what could pile up. */
export interface Usage {
  readonly processes: ReadonlyMap<string, { readonly residentMb: number; readonly openFiles: number }>;
  readonly processCount: number;
  readonly namespaces: number;
  readonly state: { readonly files: number; readonly kb: number };
  readonly run: { readonly files: number; readonly kb: number };
}

const LOOKS = 5;
const LOOK_MS = 100;
const parts = ["gate", "named", "ulogd", "api", "proxy"] as const;

/** Returns a line for each figure that is higher at the end than it may be. */
export function compareUsage(start: Usage, end: Usage): readonly string[] {
  const lines: string[] = [];
  const atMost = (what: string, value: number, bound: number): void => {
    if (value > bound) lines.push(`${what}: ${value}, at most ${bound}`);
  };
  for (const [name, before] of start.processes) {
    const after = end.processes.get(name);
    if (after === undefined) lines.push(`${name} does not run any more`);
    atMost(`open files of ${name}`, after?.openFiles ?? 0, before.openFiles + 4);
    atMost(`memory of ${name} in MB`, after?.residentMb ?? 0, before.residentMb * 1.3 + 30);
  }
  atMost("processes", end.processCount, start.processCount);
  // Releases go when the next one is confirmed: one or two more of twenty files each may be there.
  atMost("files in the state folder", end.state.files, start.state.files + 45);
  atMost("network namespaces", end.namespaces, start.namespaces);
  atMost("files in the run folder", end.run.files, start.run.files + 4);
  return lines;
}

/** Reads what the gateway with this folder and agent uses now. */
export async function readUsage(folder: string, agent: number): Promise<Usage> {
  const pids = new Map([["agent", agent]]);
  for (const part of parts) {
    const text = await readFile(join(folder, "run", `${part}.pid.json`), "utf8").catch(() => null);
    if (text !== null) pids.set(part, (JSON.parse(text) as { readonly pid: number }).pid);
  }
  const processes = new Map<string, { readonly residentMb: number; readonly openFiles: number }>();
  for (const [name, pid] of pids) {
    const status = await readFile(`/proc/${pid}/status`, "utf8");
    const residentMb = Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024);
    processes.set(name, { residentMb, openFiles: await countOpenFiles(pid) });
  }
  return {
    processes,
    processCount: await countProcesses(agent),
    namespaces: (await readdir("/run/netns")).filter((name) => name.startsWith(`clawgress-check-${agent}-`)).length,
    state: await measureFolder(join(folder, "state")),
    run: await measureFolder(join(folder, "run")),
  };
}

/** Returns the figures in a line. */
export function describeUsage({ processes, processCount, namespaces, state, run }: Usage): string {
  const each = [...processes].map(([name, { residentMb, openFiles }]) => `${name} ${residentMb} MB ${openFiles} files`);
  const folders = `state ${state.files} files ${state.kb} kB, run ${run.files} files ${run.kb} kB`;
  return `${each.join(", ")}; ${processCount} processes, ${namespaces} scratch namespaces; ${folders}`;
}

async function measureFolder(folder: string): Promise<{ readonly files: number; readonly kb: number }> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const sizes = entries.map(async (entry) => {
    if (!entry.isFile()) return 0;
    return (await stat(join(entry.parentPath, entry.name)).catch(() => null))?.size ?? 0;
  });
  const bytes = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  return { files: entries.filter((entry) => !entry.isDirectory()).length, kb: Math.round(bytes / 1024) };
}

/** Connections and programs that come and go are not there at each of several looks. */
async function countOpenFiles(pid: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let look = 0; look < LOOKS; look += 1) {
    least = Math.min(least, (await readdir(`/proc/${pid}/fd`)).length);
    await sleepMs(LOOK_MS);
  }
  return least;
}

/** All in the agent's network namespace; those that come and go are not there at each of several looks. */
async function countProcesses(agent: number): Promise<number> {
  const namespaceOf = (pid: number): Promise<string> => readlink(`/proc/${pid}/ns/net`).catch(() => "");
  const own = await namespaceOf(agent);
  let seen = new Set<number>();
  for (let look = 0; look < LOOKS; look += 1) {
    const rows = await Promise.all(
      (await listProcesses()).map(async ({ pid }) => ({ pid, isOurs: (await namespaceOf(pid)) === own })),
    );
    const present = new Set(rows.filter(({ isOurs }) => isOurs).map(({ pid }) => pid));
    seen = look === 0 ? present : new Set([...seen].filter((pid) => present.has(pid)));
    await sleepMs(LOOK_MS);
  }
  return seen.size;
}
