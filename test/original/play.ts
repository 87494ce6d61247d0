import { type Checkout, type Feature, features } from "./checkout.ts";
import { raiseOriginal } from "./original-side.ts";
import { raiseOurs } from "./our-side.ts";
import type { Case, Side } from "./side.ts";

/** One line of the table. */
export interface Row {
  readonly title: string;
  readonly what: string;
  readonly original: string;
  readonly ours: string;
  /** True when ours is what it must be. */
  readonly isRight: boolean;
}

const CASE_TIMEOUT_MS = 150_000;

/** Plays a case before both programs, each in a lab of its own, and returns a row for every attempt. */
export async function playCase(one: Case, checkout: Checkout, note: (text: string) => void): Promise<readonly Row[]> {
  const missing = features.filter((feature) => one.needs.includes(feature) && !checkout.has.has(feature));
  const original =
    missing.length > 0
      ? one.attempts.map(() => wordMissing(missing))
      : await playOn(one, () => raiseOriginal(checkout, note));
  const ours = await playOn(one, raiseOurs);
  return one.attempts.map(({ what, ours: wanted }, index) => {
    const verdict = ours[index] ?? "";
    return { title: one.title, what, original: original[index] ?? "", ours: verdict, isRight: wanted.test(verdict) };
  });
}

function wordMissing(missing: readonly Feature[]): string {
  return `has no ${missing.map((feature) => `\`${feature}\``).join(", ")}`;
}

/** Returns a verdict for each attempt; what could not be tried says so, and is never what ours must be. */
async function playOn(one: Case, raise: () => Promise<Side>): Promise<readonly string[]> {
  let timer: NodeJS.Timeout | undefined;
  let side: Side | null = null;
  try {
    side = await raise();
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`took longer than ${CASE_TIMEOUT_MS / 1000} s`)), CASE_TIMEOUT_MS);
    });
    return await Promise.race([one.play(side), late]);
  } catch (error) {
    return one.attempts.map(() => `could not be tried: ${(error as Error).message.split("\n")[0]}`);
  } finally {
    clearTimeout(timer);
    await side?.lab.stop();
  }
}
