import { GROUP_MAX, GROUP_MIN, isNetworkGrant, NETWORK_GRANT_MAX, NETWORK_GRANT_MIN } from "./marks.ts";
import { markToken, numberToken } from "./tokens.ts";

/** An element of the kernel's set `live`: a grant in force for a group. */
export interface LivePair {
  readonly group: number;
  readonly grant: number;
}

/**
 * Returns the nft commands that make the grants of networks in the set `live` the wanted ones; empty when they are.
 * Grants of names are the gate's and are never named here. The kernel's pairs must be as they are at that moment: nft
 * refuses the whole transaction when an element to delete is not there.
 * @throws RangeError when a wanted pair is no group with a grant of a network.
 */
export function liveDelta(kernel: readonly LivePair[], wanted: readonly LivePair[]): string {
  const wantedTexts = new Set(wanted.map(pairText));
  const kernelTexts = new Set(kernel.filter(({ grant }) => isNetworkGrant(grant)).map(pairText));
  const removed = [...kernelTexts].filter((text) => !wantedTexts.has(text)).sort();
  const added = [...wantedTexts].filter((text) => !kernelTexts.has(text)).sort();
  return command("delete", removed) + command("add", added);
}

function pairText({ group, grant }: LivePair): string {
  numberToken(group, GROUP_MIN, GROUP_MAX);
  numberToken(grant, NETWORK_GRANT_MIN, NETWORK_GRANT_MAX);
  return `${markToken(group)} . ${markToken(grant)}`;
}

function command(verb: "add" | "delete", elements: readonly string[]): string {
  if (elements.length === 0) return "";
  return `${verb} element inet clawgress live {\n${elements.join(",\n")}\n}\n`;
}
