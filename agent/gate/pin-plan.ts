import type { PortClass } from "../compile/release.ts";
import type { PortRange } from "../policy/policy.ts";

/** A port class, and the range as the policy wrote it whose grant its flows carry. */
export interface ClassRange {
  readonly portClass: number;
  readonly range: PortRange;
  /** The schedule that its flows keep to; missing: always open. */
  readonly hours?: number;
}

/** The least and the most that a pin outlives its answer: clients and their resolvers keep an address a little too long. */
const PIN_GRACE_S = 60;
const MIN_PIN_S = 90;

/** Returns for how long the kernel keeps a pin of an answer that the client keeps for `clientTtlS`. */
export function pinTimeoutS(clientTtlS: number): number {
  return Math.max(MIN_PIN_S, clientTtlS + PIN_GRACE_S);
}

/** Until when a range of ports is open, in seconds since the epoch; Infinity: no entry of it expires. */
export type LastOf = (range: PortRange) => number;

/**
 * Returns the classes that a name's ports cover, each with the range that is open for longest, and of those the narrowest
 * (of two equally wide ones the one that begins first), so that neither what expires nor taking a wide range away ends a
 * flow that another range allows.
 */
export function planClasses(
  ports: readonly PortRange[],
  classes: readonly PortClass[],
  lastOf: LastOf = () => Number.POSITIVE_INFINITY,
): readonly ClassRange[] {
  const plan: ClassRange[] = [];
  for (const portClass of classes) {
    let best: PortRange | null = null;
    for (const range of ports) {
      if (range.protocol !== portClass.protocol) continue;
      if (range.first > portClass.first || range.last < portClass.last) continue;
      if (best === null || isBetter(range, best, lastOf)) best = range;
    }
    if (best !== null) plan.push({ portClass: portClass.mark, range: best });
  }
  return plan;
}

function isBetter(a: PortRange, b: PortRange, lastOf: LastOf): boolean {
  const [one, other] = [lastOf(a), lastOf(b)];
  return one === other ? isNarrower(a, b) : one > other;
}

function isNarrower(a: PortRange, b: PortRange): boolean {
  const difference = a.last - a.first - (b.last - b.first);
  return difference === 0 ? a.first < b.first : difference < 0;
}
