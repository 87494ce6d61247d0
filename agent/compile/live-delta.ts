import { AUDIT_GRANT, GROUP_MAX, GROUP_MIN, isAppliedGrant } from "./marks.ts";
import { markToken, numberToken } from "./tokens.ts";

/** An element of the kernel's set `live`: a grant in force for a group. */
export interface LivePair {
  readonly group: number;
  readonly grant: number;
}

/** What makes the applied grants in the set `live` the wanted ones; both empty when they are. */
export interface LiveDelta {
  /** To be loaded together with the policy table. */
  readonly now: string;
  /**
   * To be loaded when the gate has the policy, too: ends the audits that are over. A flow that only an audit let pass
   * and that a name opens now gets the name's grant of the gate first, and so does not stall in between.
   */
  readonly later: string;
}

/**
 * Returns the nft commands that make the grants of networks and audits in the set `live` the wanted ones.
 * Grants of names are the gate's and are never named here. The kernel's pairs must be as they are at that moment: nft
 * refuses the whole transaction when an element to delete is not there.
 * @throws RangeError when a wanted pair is no group with a grant that an apply owns.
 */
export function liveDelta(kernel: readonly LivePair[], wanted: readonly LivePair[]): LiveDelta {
  const wantedTexts = new Set(wanted.map(pairText));
  const stale = kernel.filter((pair) => isAppliedGrant(pair.grant) && !wantedTexts.has(pairText(pair)));
  const [audits, networks] = [stale.filter(isAudit), stale.filter((pair) => !isAudit(pair))];
  const known = new Set(kernel.filter(({ grant }) => isAppliedGrant(grant)).map(pairText));
  const added = [...wantedTexts].filter((text) => !known.has(text));
  return {
    now: command("delete", networks.map(pairText)) + command("add", added),
    later: command("delete", audits.map(pairText)),
  };
}

function isAudit({ grant }: LivePair): boolean {
  return grant === AUDIT_GRANT;
}

function pairText({ group, grant }: LivePair): string {
  numberToken(group, GROUP_MIN, GROUP_MAX);
  if (!isAppliedGrant(grant)) throw new RangeError(`an apply does not own the grant ${grant}`);
  return `${markToken(group)} . ${markToken(grant)}`;
}

function command(verb: "add" | "delete", elements: readonly string[]): string {
  if (elements.length === 0) return "";
  const sorted = [...new Set(elements)].sort();
  return `${verb} element inet clawgress live {\n${sorted.join(",\n")}\n}\n`;
}
