import { rangeToCidrs } from "../policy/cidr.ts";
import { closedRanges } from "./closed-networks.ts";
import { nameLookups, type Scope } from "./haproxy-lookups.ts";
import { OWN_MAP, proxyMaps } from "./proxy-maps.ts";
import { SUFFIX_LABELS } from "./proxy-names.ts";

/**
 * The table of connections under way by `client|port|name|plane`: what is in it and no longer allowed can be ended. Once a
 * name has led to an address, gpt0 to gpt3 are that (IPv4: gpt3 alone), and gpt4 is its family; 0 until then.
 */
export const FLOW_TABLE = "flows";

const NETWORKS_PER_LINE = 16;
export const NEVER = ["six never6", "!six never4", "own"] as const;
export const UNANSWERED = ["six private6 !answered", "!six private4 !answered"] as const;

/**
 * Declares what the address of a name may be refused for. The families are told apart first: HAProxy takes an IPv4
 * network and its 6to4 form for each other. `answers` belong to the name's rules, or to the innermost zone that it is in.
 */
export function closedAddresses(scope: Scope, action: string, unless = ""): readonly string[] {
  const address = `var(${scope}.address)`;
  const find = (variable: string, from: string, condition: string): string =>
    `${action} set-var(${scope}.${variable}) ${from} if ${condition}`;
  const inner = `{ var(${scope}.inner) -m found }`;
  const zoneOf = (from: string): string =>
    find("zone", `${from},map_str(${proxyMaps.zones})`, `${inner} { ${from},map_str(${proxyMaps.zones}) -m found }`);
  return [
    `\tacl six ${address} -m sub :`,
    // Before the maps are looked at: whoever was judged by an old one is found by the address as well.
    ...noteAddress(address, action, unless),
    ...addressLines(address),
    `\tacl own ${address},map_ip(${OWN_MAP}) -m found`,
    find("region", `${address},map_ip(${proxyMaps.regions4})`, "!six"),
    find("region", `${address},map_ip(${proxyMaps.regions6})`, "six"),
    `\tacl denied_address var(${scope}.region),concat(!),map_str(${proxyMaps.deny}) -m found`,
    `\tacl denied_address var(${scope}.region),concat(@,${scope}.group),map_str(${proxyMaps.deny}) -m found`,
    find("inner", `${address},map_ip(${proxyMaps.inner4})`, "!six"),
    find("inner", `${address},map_ip(${proxyMaps.inner6})`, "six"),
    // The longest last: it stays.
    ...SUFFIX_LABELS.map((labels) => zoneOf(`var(${scope}.parent),word(-1,.,${labels})`)),
    zoneOf(`var(${scope}.name)`),
    ...nameLookups(scope, "answered", proxyMaps.answers, `@,${scope}.group,|`, `,concat(,${scope}.inner)`),
    `\tacl answered var(${scope}.zone),concat(=|,${scope}.inner),map_str(${proxyMaps.answers}) -m found`,
  ];
}

/** The flow's entry may be left of a request just before. */
export function noAddress(action: string, condition?: string): readonly string[] {
  return [`${action} sc-set-gpt(4,1) int(0)${condition === undefined ? "" : ` if ${condition}`}`];
}

/** Its family last: by then the address is whole. */
function noteAddress(address: string, action: string, condition: string): readonly string[] {
  const note = (index: number, value: string, family: string): string =>
    `${action} sc-set-gpt(${index},1) ${value} if ${condition}${family}`;
  return [
    ...[0, 1, 2, 3].map((index) => note(index, `${address},bytes(${index * 4},4),hex,hex2i`, "six")),
    note(3, `${address},add(0)`, "!six"),
    note(4, "int(6)", "six"),
    note(4, "int(4)", "!six"),
  ];
}

function addressLines(address: string): readonly string[] {
  return ([4, 6] as const).flatMap((family) =>
    (["never", "private"] as const).flatMap((kind) => {
      const networks = closedRanges(family, kind).flatMap(rangeToCidrs);
      const count = Math.ceil(networks.length / NETWORKS_PER_LINE);
      return Array.from({ length: count }, (_, index) => {
        const some = networks.slice(index * NETWORKS_PER_LINE, (index + 1) * NETWORKS_PER_LINE);
        return `\tacl ${kind}${family} ${address} -m ip ${some.join(" ")}`;
      });
    }),
  );
}
