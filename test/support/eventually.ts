import { sleepMs } from "../../agent/host/clock.ts";

const POLL_MS = 50;
/** How much longer whatever is waited for may take than on a common machine: under emulation, for one. */
export const PATIENCE = Number(process.env["TEST_PATIENCE"] ?? 1);
const WAIT_MS = 15_000 * PATIENCE;

/** Resolves when something is true, which is asked again and again for at most 15 s. @throws Error that names it */
export async function eventually(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (performance.now() < deadline) {
    if (await isTrue()) return;
    await sleepMs(POLL_MS);
  }
  throw new Error(`it never came true: ${what}`);
}
