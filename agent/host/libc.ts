import { constants } from "node:os";
import type koffi from "koffi";
import { AgentError } from "../errors.ts";

/** The C library of this process, for the few calls that Node has not. */
export interface Libc {
  readonly library: ReturnType<typeof koffi.load>;
  /** The name of the error of the last call that failed on this thread. */
  errno(): string;
}

/** Opens the C library. @throws AgentError HOST_MISSING */
export async function openLibc(): Promise<Libc> {
  try {
    const ffi = await importKoffi();
    return { library: ffi.load(null), errno: () => errnoText(ffi.errno()) };
  } catch (error) {
    throw new AgentError("HOST_MISSING", `cannot call the C library: ${(error as Error).message}`, { cause: error });
  }
}

/** Calls on other threads have stacks of their own. libnftables keeps messages of 68 KiB there; by default there are 256. */
const STACK_BYTES = 1024 * 1024;
let imported: Promise<typeof koffi> | null = null;

/**
 * Returns what calls C. It brings a native library of its own, which a machine may lack: so it is imported when it is
 * needed. @throws Error of the system
 */
export async function importKoffi(): Promise<typeof koffi> {
  imported ??= import("koffi").then(({ default: ffi }) => {
    ffi.config({ ...ffi.config(), async_stack_size: STACK_BYTES });
    return ffi;
  });
  return await imported;
}

/** Returns the name of an error number of the system, such as `EPERM`. */
export function errnoText(errno: number): string {
  const names = Object.entries(constants.errno).find(([, value]) => value === errno);
  return names === undefined ? `error ${errno}` : names[0];
}
