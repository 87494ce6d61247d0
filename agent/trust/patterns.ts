/**
 * Returns whether a path or name fits one of the patterns: `*` stands for anything within a step, `**` for any number of
 * steps. Both are searched by going back to the last star only, so that no pattern takes long on any text.
 */
export function fitsAny(patterns: readonly string[], text: string): boolean {
  const steps = text.split("/");
  return patterns.some((pattern) => fits(pattern.split("/"), steps, "**", fitsStep));
}

function fitsStep(pattern: string, step: string): boolean {
  return fits([...pattern], [...step], "*", (wanted, found) => wanted === found);
}

/**
 * The last star takes as little as it can and more whenever what follows does not fit: an earlier star that took more
 * would leave the later one nothing that it cannot take itself.
 */
function fits(
  pattern: readonly string[],
  parts: readonly string[],
  star: string,
  fitsOne: (wanted: string, found: string) => boolean,
): boolean {
  let [wanted, found] = [0, 0];
  let back: { readonly wanted: number; found: number } | null = null;
  while (found < parts.length) {
    const [one, part = ""] = [pattern[wanted], parts[found]];
    if (one === star) {
      back = { wanted: wanted + 1, found };
      wanted += 1;
    } else if (one !== undefined && fitsOne(one, part)) {
      wanted += 1;
      found += 1;
    } else if (back !== null) {
      back.found += 1;
      wanted = back.wanted;
      found = back.found;
    } else return false;
  }
  return pattern.slice(wanted).every((one) => one === star);
}
