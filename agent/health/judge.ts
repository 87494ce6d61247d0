import type { ProbeResult } from "./probe.ts";

/** What the probes say about a change. `blamed` failed after it but passed before; `failedBefore` proves nothing. */
export interface Verdict {
  readonly healthy: boolean;
  readonly blamed: readonly ProbeResult[];
  readonly failedBefore: readonly ProbeResult[];
}

/**
 * Returns the verdict on a change from the probes' results before and after it. A probe that failed before the change
 * and still fails is named, not blamed on it, unless it is mandatory.
 */
export function judgeProbes(before: readonly ProbeResult[], after: readonly ProbeResult[]): Verdict {
  const passedBefore = new Set(before.filter((result) => result.passed).map((result) => result.name));
  const isBlamed = (result: ProbeResult): boolean => result.mandatory || passedBefore.has(result.name);
  const failed = after.filter((result) => !result.passed);
  const blamed = failed.filter(isBlamed);
  const failedBefore = failed.filter((result) => !isBlamed(result));
  return { healthy: blamed.length === 0, blamed, failedBefore };
}
