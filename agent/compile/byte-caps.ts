import { compareTexts } from "../policy/compare-texts.ts";
import { patternText } from "../policy/pattern-text.ts";
import type { Policy } from "../policy/policy.ts";
import { assignMark, CAP_MAX, CAP_MIN } from "./marks.ts";
import type { MarkedCap } from "./release.ts";

/**
 * Returns every byte cap of a policy with its mark, sorted by mark. A mark depends on host, pattern and period, not on the
 * bytes: another cap for the same is the same counter.
 */
export function markCaps(policy: Policy): readonly MarkedCap[] {
  if (policy.mode === "deny-all") return [];
  const texts = policy.groups
    .flatMap((group) => (group.caps ?? []).map((cap) => ({ group: group.name, ...cap })))
    .map((cap) => ({ cap, text: `cap ${cap.group} ${patternText(cap.pattern)} ${cap.period}` }))
    .sort((a, b) => compareTexts(a.text, b.text));
  const taken = new Set<number>();
  const marked = texts.map(({ cap, text }): MarkedCap => {
    const mark = assignMark(text, CAP_MIN, CAP_MAX, (other) => taken.has(other));
    taken.add(mark);
    return { ...cap, mark };
  });
  return marked.sort((a, b) => a.mark - b.mark);
}

/** Returns the loopback address that the proxy sends through for a cap: its number is the mark. */
export function relayAddress(mark: number): string {
  return [24, 16, 8, 0].map((shift) => (mark >>> shift) & 0xff).join(".");
}
