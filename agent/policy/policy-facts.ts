import { compareTexts } from "./compare-texts.ts";
import { patternText } from "./pattern-text.ts";
import type { Denials, Group, Policy } from "./policy.ts";

/**
 * Returns what a policy says besides names, networks, ports and hosts, a line each, sorted and without repetition: the
 * lines that come or go between two policies are what changed. Every line is safe to print.
 */
export function collectFacts(policy: Policy | null): readonly string[] {
  if (policy === null) return [];
  const facts = [
    ...denialFacts("everyone", policy.deny),
    ...(policy.forward ?? []).flatMap(({ zone, resolvers, answers }) => [
      `names of ${zone} are resolved by ${resolvers.join(", ")}`,
      ...(answers ?? []).map((network) => `private answers for names of ${zone} in ${network}`),
    ]),
    ...policy.groups.flatMap((group) => [
      ...(group.mode === undefined ? [] : [`mode ${group.mode} for ${ownerOf(group.name)}`]),
      ...denialFacts(ownerOf(group.name), group.deny),
      ...answerFacts(group),
      ...(group.caps ?? []).map(
        ({ pattern, bytes, period }) =>
          `host ${group.name} may send ${bytes} bytes a ${period} to ${patternText(pattern)}`,
      ),
    ]),
  ];
  return [...new Set(facts)].sort(compareTexts);
}

/** A host may be named `everyone`. */
function ownerOf(group: string): string {
  return group === "*" ? "everyone without own rules" : `host ${group}`;
}

function denialFacts(who: string, denials: Denials | undefined): readonly string[] {
  const names = (denials?.names ?? []).map(({ pattern }) => patternText(pattern));
  const networks = (denials?.networks ?? []).map(({ network }) => network);
  return [...names, ...networks].map((entry) => `deny for ${who}: ${entry}`);
}

function answerFacts({ name, names }: Group): readonly string[] {
  const answering = names.filter(({ answers }) => answers !== undefined);
  return answering.flatMap(({ pattern, answers }) =>
    (answers ?? []).map((network) => `private answers for ${ownerOf(name)}: ${patternText(pattern)} in ${network}`),
  );
}
