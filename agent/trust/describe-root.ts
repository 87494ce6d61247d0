import { compareTexts } from "../policy/compare-texts.ts";
import { formatTime } from "./fields.ts";
import type { Principal, Role, Root, Rule } from "./root.ts";

/** Returns what a root changes against the one before it, in plain words, a line each; never an empty list. */
export function describeRootChange(old: Root, next: Root): readonly string[] {
  const lines = [
    ...compareMaps(keyed(old.principals), keyed(next.principals), "principal"),
    ...compareTextLines("role policy", roleText(old.roles.policy), roleText(next.roles.policy)),
    ...compareTextLines("role root", roleText(old.roles.root), roleText(next.roles.root)),
    ...compareTextLines("role freshness", roleText(old.roles.freshness), roleText(next.roles.freshness)),
    ...compareTextLines("rules", old.rules.map(ruleText).join("; "), next.rules.map(ruleText).join("; ")),
    ...[...next.revoked].filter((one) => !old.revoked.has(one)).map((one) => `revoked: ${one} counts nowhere any more`),
    ...[...old.revoked].filter((one) => !next.revoked.has(one)).map((one) => `NO LONGER REVOKED: ${one}`),
    ...compareTextLines("serials", serialsText(old), serialsText(next)),
  ];
  return lines.length === 0 ? ["nothing but its number is different"] : lines;
}

/** Who a principal is, as text: name → keys and certificates. */
function keyed(principals: readonly Principal[]): ReadonlyMap<string, readonly string[]> {
  return new Map(
    principals.map(({ name, keys, certifiers }) => [
      name,
      [
        ...keys.map(({ algorithm, fingerprint, expiresAtMs }) => {
          const until = expiresAtMs === null ? "" : ` until ${formatTime(expiresAtMs)}`;
          return `key ${fingerprint} (${algorithm})${until}`;
        }),
        ...certifiers.map(({ authority, identity }) => `certificates for ${identity} by ${authority.fingerprint}`),
      ].sort(compareTexts),
    ]),
  );
}

function compareMaps(
  old: ReadonlyMap<string, readonly string[]>,
  next: ReadonlyMap<string, readonly string[]>,
  what: string,
): readonly string[] {
  return [...new Set([...old.keys(), ...next.keys()])].sort(compareTexts).flatMap((name) => {
    const [before, after] = [old.get(name), next.get(name)];
    if (before === undefined) return [`+ ${what} ${name}`, ...(after ?? []).map((line) => `  + ${line}`)];
    if (after === undefined) return [`- ${what} ${name}`];
    const gone = before.filter((line) => !after.includes(line)).map((line) => `- ${name}: ${line}`);
    return [...gone, ...after.filter((line) => !before.includes(line)).map((line) => `+ ${name}: ${line}`)];
  });
}

function compareTextLines(what: string, old: string, next: string): readonly string[] {
  return old === next ? [] : [`~ ${what}: ${next || "none"} (before: ${old || "none"})`];
}

function roleText(role: Role | null): string {
  if (role === null) return "";
  const tighten = role.tighten < role.threshold ? `, ${role.tighten} to tighten` : "";
  return `${role.threshold} of ${role.principals.join(", ")}${tighten}`;
}

function ruleText(rule: Rule): string {
  const { name, files, hosts, sources, lock } = rule;
  const parts = [
    roleText(rule),
    files === null ? "" : `files ${files.join(" ")}`,
    hosts === null ? "" : `hosts ${hosts.join(" ")}`,
    sources === null ? "" : `sources ${sources.join(" ")}`,
    lock ? "with its own lock" : "",
  ];
  return `${name}: ${parts.filter((part) => part !== "").join(", ")}`;
}

function serialsText({ serials }: Root): string {
  return serials === null ? "" : `those from ${serials.void} on are void, gateways go back to ${serials.restart}`;
}
