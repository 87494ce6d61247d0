import { constants } from "node:os";
import type koffi from "koffi";
import { AgentError } from "../errors.ts";

/** The C library of this process, for the few calls that Node has not. */
export interface Libc {
  readonly library: ReturnType<typeof koffi.load>;
  /** The name of the error of the last call that failed on this thread. */
  errno(): string;
}

/**
 * Opens the C library. koffi brings a native library of its own, which a machine may lack: so it is imported when it is
 * needed. @throws AgentError HOST_MISSING
 */
export async function openLibc(): Promise<Libc> {
  try {
    const ffi = (await import("koffi")).default;
    return { library: ffi.load(null), errno: () => errnoText(ffi.errno()) };
  } catch (error) {
    throw new AgentError("HOST_MISSING", `cannot call the C library: ${(error as Error).message}`, { cause: error });
  }
}

/** Returns the name of an error number of the system, such as `EPERM`. */
export function errnoText(errno: number): string {
  const names = Object.entries(constants.errno).find(([, value]) => value === errno);
  return names === undefined ? `error ${errno}` : names[0];
}
