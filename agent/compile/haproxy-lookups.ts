import { type ProxyMap, proxyMaps, SPENT_MAP } from "./proxy-maps.ts";
import { SUFFIX_LABELS } from "./proxy-names.ts";

/*
 * What the rules of a frontend ask of the maps about a name: an exact lookup each, however large the map is.
 */

/** Where a rule keeps what it has found: with the connection, or with one request. */
export type Scope = "sess" | "txn";
export type Rule = "tcp-request content" | "http-request";

/** The name itself, or a wildcard over one of its parents: an exact lookup each, however large the map is. */
export function listedNames(scope: Scope, map: ProxyMap): readonly string[] {
  return nameLookups(scope, "listed", map, `@,${scope}.group`);
}

/**
 * Until when the name is open, by the most specific line that speaks of it: compared with the clock here, so that a name
 * closes in time though nobody is left who could say so.
 */
export function openHours(scope: Scope, action: string, plane: "tls" | "http"): readonly string[] {
  const end = `@,${scope}.group),concat(|${plane})`;
  const keys = [
    `var(${scope}.name),concat(${end}`,
    // The longest parent first.
    ...SUFFIX_LABELS.toReversed().map((labels) => `var(${scope}.parent),word(-1,.,${labels}),concat(*${end}`),
  ];
  const until = `var(${scope}.until)`;
  return [
    `${action} set-var(${scope}.now) date`,
    ...keys.map((key) => {
      const lookup = `${key},map_str_int(${proxyMaps.hours})`;
      return `${action} set-var(${scope}.until) ${lookup} if !{ ${until} -m found } { ${lookup} -m found }`;
    }),
  ];
}

export const IS_EXPIRED = (scope: Scope): string => `{ var(${scope}.until) -m int lt 0 }`;
export const IS_CLOSED = (scope: Scope): string =>
  `{ var(${scope}.until) -m found } !{ var(${scope}.until),sub(${scope}.now) gt 0 }`;

/** What `deny` names, of everyone and of the client's group. */
export function deniedNames(scope: Scope): readonly string[] {
  return [
    ...nameLookups(scope, "denied", proxyMaps.deny, "!"),
    ...nameLookups(scope, "denied", proxyMaps.deny, `@,${scope}.group`),
  ];
}

/** An ACL that holds when a map has a name or one of its parents, each as a key that ends in the same way. */
export function nameLookups(scope: Scope, acl: string, map: ProxyMap, end: string, more = ""): readonly string[] {
  return [
    `\tacl ${acl} var(${scope}.name),concat(${end})${more},map_str(${map}) -m found`,
    ...SUFFIX_LABELS.map(
      (labels) =>
        `\tacl ${acl} var(${scope}.parent),word(-1,.,${labels}),concat(*${end})${more},map_str(${map}) -m found`,
    ),
  ];
}

/**
 * The cap that a name counts for, as a loopback address: its own, else that of the longest wildcard over it. Groups without
 * caps cost one lookup.
 */
export function capOf(rule: Rule, scope: Scope): readonly string[] {
  const look = (what: string, conditions: string): string =>
    `\t${rule} set-var(${scope}.cap) ${what},map_str(${proxyMaps.caps}) if ${conditions}`;
  return [
    `\tacl capped str(@),concat(,${scope}.group),map_str(${proxyMaps.caps}) -m found`,
    `\tacl metered var(${scope}.cap) -m found`,
    `\t${rule} unset-var(${scope}.cap)`,
    look(`var(${scope}.name),concat(@,${scope}.group)`, "capped"),
    ...SUFFIX_LABELS.toReversed().map((labels) =>
      look(`var(${scope}.parent),word(-1,.,${labels}),concat(*@,${scope}.group)`, "capped !metered"),
    ),
    `\t${rule} set-var(${scope}.until) var(${scope}.cap),map_str_int(${SPENT_MAP},0) if metered`,
    // Through a variable: a condition on the clock itself would be waited for until it may be true.
    `\t${rule} set-var(${scope}.past) date,sub(${scope}.until) if metered`,
  ];
}
