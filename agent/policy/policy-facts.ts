import { compareTexts } from "./compare-texts.ts";
import { hasExpiring } from "./expiring.ts";
import { hoursText } from "./hours.ts";
import { patternText } from "./pattern-text.ts";
import type { Denials, Group, NameWindow, Policy } from "./policy.ts";
import { instantText } from "./wall-time.ts";

/**
 * Returns what a policy says besides names, networks, ports and hosts, a line each, sorted and without repetition: the
 * lines that come or go between two policies are what changed. Every line is safe to print.
 */
export function collectFacts(policy: Policy | null): readonly string[] {
  if (policy === null) return [];
  const facts = [
    ...denialFacts("everyone", policy.deny),
    ...nameHoursFacts("everyone", policy.nameWindows),
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
      ...(group.window === undefined ? [] : [`hours of ${ownerOf(group.name)}: ${hoursText(group.window)}`]),
      ...nameHoursFacts(ownerOf(group.name), group.nameWindows),
      ...expiryFacts(group),
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
  const expiring = [
    ...(denials?.names ?? []).map(({ pattern, expiresS }) => ({ entry: patternText(pattern), expiresS })),
    ...(denials?.networks ?? []).map(({ network, expiresS }) => ({ entry: network as string, expiresS })),
  ].flatMap(({ entry, expiresS }) =>
    expiresS === undefined ? [] : [`deny for ${who} ends: ${entry} at ${instantText(expiresS)}`],
  );
  return [...[...names, ...networks].map((entry) => `deny for ${who}: ${entry}`), ...expiring];
}

function nameHoursFacts(who: string, windows: readonly NameWindow[] | undefined): readonly string[] {
  return (windows ?? []).map(({ pattern, hours }) => `hours for ${who}: ${patternText(pattern)} ${hoursText(hours)}`);
}

function expiryFacts({ name, names, networks }: Group): readonly string[] {
  // A long list is not looked through for nothing.
  const entries = [
    ...(hasExpiring(names) ? names : []).map(({ pattern, expiresS }) => ({ entry: patternText(pattern), expiresS })),
    ...networks.map(({ network, expiresS }) => ({ entry: network as string, expiresS })),
  ];
  return entries.flatMap(({ entry, expiresS }) =>
    expiresS === undefined ? [] : [`expiry for ${ownerOf(name)}: ${entry} at ${instantText(expiresS)}`],
  );
}

function answerFacts({ name, names }: Group): readonly string[] {
  const answering = names.filter(({ answers }) => answers !== undefined);
  return answering.flatMap(({ pattern, answers }) =>
    (answers ?? []).map((network) => `private answers for ${ownerOf(name)}: ${patternText(pattern)} in ${network}`),
  );
}
