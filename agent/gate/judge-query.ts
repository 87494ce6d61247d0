import type { Allowed, Client, Denied } from "../policy/decide.ts";
import type { PolicyEntry } from "../policy/policy.ts";
import type { Reason } from "../policy/reasons.ts";
import { NO_BASIS } from "../policy/schedules.ts";
import type { ActivePolicy } from "./active-policy.ts";
import { isLinkLocal } from "./addresses.ts";
import { reverseAddress } from "./reverse-name.ts";
import { CLASS_IN, escapedNameText, isMetaType, rcode, rrType, typeText } from "./wire.ts";
import type { Query } from "./wire-query.ts";

/** What becomes of a query before anybody else is asked. */
export type QueryVerdict =
  | { readonly kind: "forward"; readonly name: string; readonly decision: Allowed; readonly policy: ActivePolicy }
  | { readonly kind: "no-data" }
  | Refusal;

export interface Refusal {
  readonly kind: "refuse";
  readonly rcode: number;
  readonly reason: Reason;
  readonly client: Client | null;
  readonly nearMiss: string | null;
  /** The entry of the policy that the refusal is about, when there is one. */
  readonly nearRule: PolicyEntry | null;
  /** For people, in the extended error and the record. */
  readonly text: string;
}

/**
 * Returns the verdict on a query. The name is judged before the type, so that a denied name is denied alike for every
 * type; the root is refused instead, since NXDOMAIN for it would tell a caching client that no name exists at all.
 */
export function judgeQuery(
  policy: ActivePolicy | null,
  clientAddress: string,
  query: Query,
  wasGiven: WasGiven,
): QueryVerdict {
  if (query.class !== CLASS_IN) return refuse(rcode.REFUSED, "dns-type", "only class IN is answered");
  if (policy === null) return refuse(rcode.NXDOMAIN, "not-ready", "no policy is loaded");
  const client = policy.clientOf(clientAddress);
  if (isAnonymous(policy, client, clientAddress)) {
    const text = "a link-local address does not say which host asks: ask the gateway at an address that is routed";
    return { ...refuse(rcode.REFUSED, "dns-not-allowed", text), client };
  }
  const shown = query.name ?? escapedNameText(query.nameBytes);
  if (query.name === null || query.name === "") {
    const code = query.name === "" ? rcode.REFUSED : rcode.NXDOMAIN;
    return { ...refuse(code, "dns-not-allowed", notAllowed(policy, shown === "" ? "the root" : shown)), client };
  }
  const decision =
    judgeReverse(policy, { client, address: clientAddress }, query, wasGiven) ??
    policy.decider.decideName(client, query.name);
  if (decision.verdict === "deny") {
    const refusal = refuse(rcode.NXDOMAIN, decision.reason, notAllowed(policy, shown));
    return { ...refusal, client, nearMiss: decision.nearMiss, nearRule: decision.nearRule };
  }
  if (isMetaType(query.type)) {
    const text = `queries of type ${typeText(query.type)} are never answered`;
    return { ...refuse(rcode.REFUSED, "dns-type", text), client };
  }
  // Their hints and keys would lead a client to addresses that were never pinned, or past the check of names.
  if (query.type === rrType.HTTPS || query.type === rrType.SVCB) return { kind: "no-data" };
  return { kind: "forward", name: query.name, decision, policy };
}

/** Whether a client was answered with an address, and the answer still holds. */
export type WasGiven = (policy: ActivePolicy, client: Client, clientAddress: string, address: string) => boolean;

/**
 * Returns the decision that lets a client ask for the name of an address that it may reach already: one that it was
 * given, or that its networks cover. Any other reverse name would be a channel to whoever answers for it. Null where
 * the lists of names decide.
 */
function judgeReverse(
  policy: ActivePolicy,
  from: { readonly client: Client; readonly address: string },
  { name, type }: Query,
  wasGiven: WasGiven,
): Allowed | null {
  const address = type === rrType.PTR && name !== null ? reverseAddress(name) : null;
  if (address === null || name === null) return null;
  const { client } = from;
  const decision = policy.decider.decideName(client, name);
  const denial = decision.verdict === "allow" ? decision.wouldDeny : decision;
  if (denial?.reason !== "dns-not-allowed") return null;
  const mayKnow = policy.decider.coversAddress(client, address) || wasGiven(policy, client, from.address, address);
  if (!mayKnow) return null;
  return {
    verdict: "allow",
    client,
    rule: null,
    wouldDeny: null,
    label: null,
    ports: [],
    answers: [],
    basis: NO_BASIS,
  };
}

/**
 * Every machine has a link-local address beside those that its host entry lists. Judged as a client in no host, it would
 * have names looked up that its host entry denies; so where there are hosts, nobody is served there.
 */
function isAnonymous({ release }: ActivePolicy, client: Client, address: string): boolean {
  return client.host === null && isLinkLocal(address) && release.policy.hosts.length > 0;
}

/** Returns the refusal that an audit spares a name. */
export function wouldRefuse(
  policy: ActivePolicy,
  { client, reason, nearMiss, nearRule }: Denied,
  name: string,
): Refusal {
  return { ...refuse(rcode.NXDOMAIN, reason, notAllowed(policy, name)), client, nearMiss, nearRule };
}

/** Returns the refusal that is no verdict on the name: try again later. */
export function refuseForNow(reason: Reason, client: Client | null, text: string): Refusal {
  return { ...refuse(rcode.SERVFAIL, reason, text), client };
}

/** Returns a refusal with nothing but its reason. */
export function refuse(code: number, reason: Reason, text: string): Refusal {
  return {
    kind: "refuse",
    rcode: code,
    reason,
    client: null,
    nearMiss: null,
    nearRule: null,
    text: `clawgress: ${text}`,
  };
}

function notAllowed(policy: ActivePolicy, name: string): string {
  return `${name} is not allowed by ${policyText(policy)}`;
}

/** Returns the policy that a refusal speaks for. */
export function policyText({ provenance }: ActivePolicy): string {
  return `policy ${provenance.commit.slice(0, 7)} (serial ${provenance.serial})`;
}
