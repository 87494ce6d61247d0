import type { Lab } from "../lab/lab.ts";
import type { Feature } from "./checkout.ts";

export type Policy = { readonly [key: string]: unknown };

/** A gateway in a lab of its own that one of the two programs rules: the original or ours. */
export interface Side {
  readonly lab: Lab;
  /** The name of the zone that holds the allowed names. */
  readonly allowZone: string;
  /** Puts a policy in force; returns why it is not, or an empty text. */
  readonly enforce: (policy: Policy) => Promise<string>;
}

/** A policy, or some, and what is tried under it. */
export interface Case {
  readonly title: string;
  /** What the original must read for it; without, there is nothing to try. */
  readonly needs: readonly Feature[];
  readonly attempts: readonly Attempt[];
  /** Plays all attempts and says what came of each, in their order. */
  readonly play: (side: Side) => Promise<readonly string[]>;
}

export interface Attempt {
  readonly what: string;
  /** What ours must be, the whole of it. */
  readonly ours: RegExp;
}

/** Returns a verdict with what came of the policy in front, if that was not in force. */
export function under(refusal: string, verdict: string): string {
  return refusal === "" ? verdict : `${refusal}; ${verdict}`;
}
