import { sleepMs } from "../../agent/host/clock.ts";

const POLL_MS = 50;
const MAX_POLL_MS = 500;
/** How much longer whatever is waited for may take than on a common machine: under emulation, for one. */
export const PATIENCE = Number(process.env["TEST_PATIENCE"] ?? 1);
const WAIT_MS = 15_000 * PATIENCE;

const FOUND_WITHIN_MS = 10_000 * PATIENCE;

/** Resolves with what is found, which is looked for every 50 ms; undefined when nothing is for 10 s. */
export async function awaitFound<Found>(find: () => Promise<Found | undefined>): Promise<Found | undefined> {
  const deadlineMs = performance.now() + FOUND_WITHIN_MS;
  while (performance.now() < deadlineMs) {
    const found = await find();
    if (found !== undefined) return found;
    await sleepMs(POLL_MS);
  }
  return undefined;
}

/** Resolves when something is true, which is asked again and again for at most 15 s. @throws Error that names it */
export async function eventually(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (performance.now() < deadline) {
    const askedMs = performance.now();
    if (await isTrue()) return;
    // Who starts a program to ask leaves two thirds of a core to what is waited for.
    await sleepMs(Math.min(Math.max(POLL_MS, 2 * (performance.now() - askedMs)), MAX_POLL_MS));
  }
  throw new Error(`it never came true: ${what}`);
}
