import type { Lab } from "../lab/lab.ts";
import { startLab } from "../lab/lab.ts";

/** One line of the table: what we cost beside what a user would have instead, measured in the same run. */
export interface Row {
  readonly what: string;
  readonly unit: "ms" | "s" | "B" | "MB" | "/s" | "kbit/s" | "%" | "lost";
  readonly ours: number;
  /** Null where there is nothing else that does it. */
  readonly other: { readonly what: string; readonly value: number } | null;
  /** As the design states it; null where it states none. */
  readonly goal: string | null;
  /** How often, with what, and what differs between both sides. */
  readonly how: string;
}

export interface Context {
  /** True for a few rounds of the smallest size only: it shows that a measurement works, not how fast anything is. */
  readonly quick: boolean;
  /** Only this many names, where a measurement has several sizes; null: all of them. */
  readonly names: number | null;
  /** Prints what is being done; never part of the table. */
  readonly say: (text: string) => void;
}

export type Measure = (context: Context) => Promise<readonly Row[]>;

/** Runs something in a lab of its own, which is gone afterwards whatever happens, and returns what it returned. */
export async function withLab<T>(work: (lab: Lab) => Promise<T>): Promise<T> {
  const lab = await startLab();
  try {
    return await work(lab);
  } finally {
    await lab.stop();
  }
}
