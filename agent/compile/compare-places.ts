import { compareTexts } from "../policy/compare-texts.ts";
import type { Place } from "../policy/policy.ts";

/** Orders places as a reader meets them: by file, line and column. */
export function comparePlaces(a: Place, b: Place): number {
  return compareTexts(a.file, b.file) || a.line - b.line || a.column - b.column;
}
