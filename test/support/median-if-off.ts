/**
 * Measures a rate, and twice more when it is further than 15 % from what is wanted: then the median counts. On a machine that
 * does much else a single run says little; of three, one that happens to be right is not enough.
 */
export async function medianIfOff(wanted: number, measure: () => Promise<number>): Promise<number> {
  const rates = [await measure()];
  const isOff = (rate: number): boolean => Math.abs(rate - wanted) > wanted * 0.15;
  if (isOff(rates[0] ?? 0)) rates.push(await measure(), await measure());
  return Math.round(rates.sort((a, b) => a - b)[rates.length >> 1] ?? 0);
}
