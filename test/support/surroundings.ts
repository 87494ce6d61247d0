import type { Surroundings } from "../../agent/gate/active-policy.ts";
import { createTrustedClock, type TrustedClock } from "../../agent/gate/trusted-clock.ts";

/** A wall clock and the other clock, both set by hand. */
export interface HandClock {
  wallS: number;
  monotonicS: number;
}

/** Returns a clock that believes a hand-set one. */
export function clockOf(hand: HandClock, storedS: number | null = null): TrustedClock {
  return createTrustedClock({ wallS: () => hand.wallS, monotonicS: () => hand.monotonicS }, storedS);
}

/** Returns the surroundings of a gate that has certain addresses, by default none, on an ordinary day. */
export function surroundings(
  isOwnAddress: (address: string) => boolean = () => false,
  clock: TrustedClock = clockOf({ wallS: Date.UTC(2026, 10, 26, 12) / 1000, monotonicS: 0 }),
): Surroundings {
  return { isOwnAddress, clock };
}
