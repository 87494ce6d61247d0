/** What `egress_kbps` promises of the rate that arrives. */
export const TOLERANCE = 0.15;

export function isNear(kbps: number, limit: number): boolean {
  return Math.abs(kbps / limit - 1) < TOLERANCE;
}

/**
 * Measures some rates at once, and twice more when they are not right: then the median of each counts. Who sends needs a
 * share of the processor that a machine with other work does not always give; but one good run of three proves nothing.
 */
export async function mediansIfOff(
  measure: () => Promise<readonly number[]>,
  isRight: (rates: readonly number[]) => boolean,
): Promise<readonly number[]> {
  const first = await measure();
  if (isRight(first)) return first;
  const runs = [first, await measure(), await measure()];
  return first.map((_, index) => runs.map((run) => run[index] ?? 0).sort((a, b) => a - b)[1] ?? 0);
}
