import type { Group, HostEntry, NamePattern, NameRule, NetworkRule, Policy, PortRange, Protocol } from "./policy.ts";
import type { Reason } from "./reasons.ts";

/** Who a client address is: its host entry (null for a client in no host) and the group whose rules it follows. */
export interface Client {
  readonly host: HostEntry | null;
  readonly group: Group;
}

/** The rules that allow something: the most specific first, and the union of their ports. */
export interface Allowed {
  readonly verdict: "allow";
  readonly client: Client;
  readonly rule: NameRule | NetworkRule;
  readonly label: string | null;
  /** Union of the ports of every matching rule, sorted, as written (not merged). */
  readonly ports: readonly PortRange[];
}

export interface Denied {
  readonly verdict: "deny";
  readonly client: Client;
  readonly reason: Reason;
  /** The nearest rule that almost matched, for people: `x.com is listed, but not its subdomains`. */
  readonly nearMiss: string | null;
}

export type Decision = Allowed | Denied;

/** Answers 'may A reach B?' for gate, explain and tests. Built once for a policy; every call is O(labels) or O(log n). */
export interface Decider {
  /** Returns the client of an address in canonical text; the most specific source wins. Throws RangeError for a text that is no address. */
  clientOf(address: string): Client;
  /** Returns whether a client may resolve a name (lower case, no trailing dot). */
  decideName(client: Client, name: string): Decision;
  /** Returns whether a client may open a flow to a name. */
  decideNameFlow(client: Client, name: string, protocol: Protocol, port: number): Decision;
  /** Returns whether a client may reach an address by the networks of its group (pins are the gate's affair). */
  decideAddress(client: Client, address: string, protocol: Protocol, port: number): Decision;
  /** Returns whether the networks of a client's group cover an address on any port at all. */
  coversAddress(client: Client, address: string): boolean;
}

export declare function buildDecider(policy: Policy): Decider;
export declare function patternText(pattern: NamePattern): string;
