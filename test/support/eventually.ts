import { sleepMs } from "../../agent/host/clock.ts";

const POLL_MS = 50;

/** Resolves when something is true, which is asked again and again for at most 15 s. @throws Error that names it */
export async function eventually(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt++) {
    if (await isTrue()) return;
    await sleepMs(POLL_MS);
  }
  throw new Error(`it never came true: ${what}`);
}
