/** Why something was denied: one enumeration for the gate, the packet path, `explain` and the deny records. */
export const reasons = {
  "dns-not-allowed": "no rule of the client's group allows this name",
  "dns-type": "this query type or class is never answered",
  "dns-malformed": "the query is malformed",
  "dns-rate": "the client exceeded its bound of queries, names or pins",
  "private-answer": "the name resolves to a private, loopback, link-local or gateway address",
  "ip-not-allowed": "no rule of the client's group allows this address",
  "port-not-allowed": "the name or address is allowed, but not on this port",
  "deny-all": "the policy's mode is deny-all",
  "not-ready": "the gate does not serve yet: a canary was not denied or no release is loaded",
} as const satisfies Record<string, string>;

export type Reason = keyof typeof reasons;
