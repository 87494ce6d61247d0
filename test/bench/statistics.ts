/** Returns the value below which a share (0 to 1) of the values lies, by nearest rank. @throws RangeError for no values */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  if (value === undefined) throw new RangeError("nothing was measured");
  return value;
}

/** Returns the middle value, the lower one of two. @throws RangeError for no values */
export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}
