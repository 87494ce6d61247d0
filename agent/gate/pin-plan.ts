import type { PortClass } from "../compile/release.ts";
import type { PortRange } from "../policy/policy.ts";

/** A port class, and the range as the policy wrote it whose grant its flows carry. */
export interface ClassRange {
  readonly portClass: number;
  readonly range: PortRange;
}

/** The least and the most that a pin outlives its answer: clients and their resolvers keep an address a little too long. */
const PIN_GRACE_S = 60;
const MIN_PIN_S = 90;

/** Returns for how long the kernel keeps a pin of an answer that the client keeps for `clientTtlS`. */
export function pinTimeoutS(clientTtlS: number): number {
  return Math.max(MIN_PIN_S, clientTtlS + PIN_GRACE_S);
}

/**
 * Returns the classes that a name's ports cover, each with the narrowest range that covers it (of two equally wide ones
 * the one that begins first), so that taking a wide range away never ends a flow that a narrow one allows.
 */
export function planClasses(ports: readonly PortRange[], classes: readonly PortClass[]): readonly ClassRange[] {
  const plan: ClassRange[] = [];
  for (const portClass of classes) {
    let narrowest: PortRange | null = null;
    for (const range of ports) {
      if (range.protocol !== portClass.protocol) continue;
      if (range.first > portClass.first || range.last < portClass.last) continue;
      if (narrowest === null || isNarrower(range, narrowest)) narrowest = range;
    }
    if (narrowest !== null) plan.push({ portClass: portClass.mark, range: narrowest });
  }
  return plan;
}

function isNarrower(a: PortRange, b: PortRange): boolean {
  const difference = a.last - a.first - (b.last - b.first);
  return difference === 0 ? a.first < b.first : difference < 0;
}
