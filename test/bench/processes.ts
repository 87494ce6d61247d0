import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestGateway } from "../support/gateway.ts";

/** Returns the process of a gateway's gate. @throws when none was started */
export async function gatePid({ folder }: Pick<TestGateway, "folder">): Promise<number> {
  const record = JSON.parse(await readFile(join(folder, "run", "gate.pid.json"), "utf8")) as { readonly pid: number };
  return record.pid;
}

/** Returns the memory that a process holds, in millions of bytes. @throws Error when it has ended */
export async function residentMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const kib = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN);
  if (Number.isNaN(kib)) throw new Error(`process ${pid} has ended`);
  return (kib * 1024) / 1e6;
}
