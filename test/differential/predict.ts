import { addressKind } from "../../agent/gate/addresses.ts";
import { cidrRange, parseAddress } from "../../agent/policy/cidr.ts";
import type { Client, Decider } from "../../agent/policy/decide.ts";
import { decideTarget, parseTarget } from "../../agent/policy/explain-flow.ts";
import type { Flow } from "./flows.ts";
import type { KnownName } from "./world.ts";

/** What `explain` says of flows, and what follows from it for one that was led to its address by names. */
export interface Prediction {
  /** Null: either is right, as it depends on which of the name's addresses the proxy takes. */
  readonly isAllowed: boolean | null;
  /** For people: the questions put to `explain`, and its answers. */
  readonly because: readonly string[];
  /** Where packets may go to by it. */
  readonly reaches: readonly string[];
}

/** Returns whether a group's TCP on 443 and 80 goes through the proxy. */
export function isByProxy({ group }: Client): boolean {
  return group.isProxied && group.mode !== "audit";
}

/** Predicts flows by a policy's decider; `wasGiven` is what the source was answered before. */
export function predict(decider: Decider, flow: Flow, wasGiven: readonly KnownName[]): Prediction {
  const client = decider.clientOf(flow.source);
  const because: string[] = [];
  const explain = (text: string): boolean => {
    const target = parseTarget(text);
    if (!target.ok) throw new Error(`${text}: ${target.message}`);
    const decision = decideTarget(decider, client, target.value);
    because.push(`${text} ${decision.verdict === "allow" ? "allow" : decision.reason}`);
    return decision.verdict === "allow";
  };
  if (flow.to === null) {
    const isAllowed =
      flow.name !== null && explain(flow.name.name) && isAnswered(decider, client, flow.name, flow.family);
    return { isAllowed, because, reaches: [] };
  }
  const { address, protocol, port } = flow.to;
  const shown = address.includes(":") ? `[${address}]` : address;
  const suffix = `:${port}/${protocol}`;
  const reaches = [`${address} ${protocol} ${port}`];
  const isToAddress = explain(`${shown}${suffix}`);
  if (isToAddress) return { isAllowed: true, because, reaches };
  const isProxied = isByProxy(client) && protocol === "tcp" && (port === 443 || port === 80);
  if (isProxied) {
    const name = flow.name;
    const isNamed = name !== null && explain(`${name.name}${suffix}`);
    const isAllowed = isNamed && mayLead(decider, client, name);
    const far = name === null ? [] : [...name.addresses.v4, ...name.addresses.v6];
    return { isAllowed, because, reaches: isAllowed === false ? [] : far.map((to) => `${to} tcp ${port}`) };
  }
  // A denied network is closed to every name, under audit where it is private.
  const isSpared = client.group.mode === "audit" && addressKind(address) === "public";
  if (!isSpared && decider.deniesAddress(client, address) !== null) {
    return { isAllowed: false, because, reaches: [] };
  }
  const leading = wasGiven.filter(({ addresses }) => addresses[`v${flow.family}`].includes(address));
  const isAllowed = leading.some(({ name }) => explain(`${name}${suffix}`));
  return { isAllowed, because, reaches: isAllowed ? reaches : [] };
}

/** What `explain` cannot know, since it asks nobody: whether the answer itself may be given. */
function isAnswered(decider: Decider, client: Client, { name, addresses, aliases }: KnownName, family: 4 | 6): boolean {
  const decision = decider.decideName(client, name);
  if (decision.verdict === "deny") return false;
  const isAudited = client.group.mode === "audit";
  if (!isAudited && aliases.some((alias) => decider.deniesName(client, alias) !== null)) return false;
  return addresses[`v${family}`].every((address) => {
    const kind = addressKind(address);
    if (kind === "never") return false;
    if (!(isAudited && kind === "public") && decider.deniesAddress(client, address) !== null) return false;
    return kind === "public" || decider.mayAnswer(decision, address);
  });
}

/** The proxy leads to one address of the name that is public, or in the name's answers, and that nobody denies. */
function mayLead(decider: Decider, client: Client, { name, addresses }: KnownName): boolean | null {
  const decision = decider.decideName(client, name);
  const answers = decision.verdict === "allow" ? decision.answers.map(cidrRange) : [];
  const verdicts = [...addresses.v4, ...addresses.v6].map((text) => {
    const kind = addressKind(text);
    const address = parseAddress(text);
    const isAnswer = answers.some(
      ({ family, first, last }) => address?.family === family && first <= address.value && address.value <= last,
    );
    const isOpen = kind === "public" || (kind === "private" && isAnswer);
    return isOpen && decider.deniesAddress(client, text) === null;
  });
  return verdicts.every(Boolean) ? true : verdicts.some(Boolean) ? null : false;
}
