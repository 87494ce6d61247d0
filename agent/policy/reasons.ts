/** Why something was denied: one enumeration for the gate, the packet path, `explain` and the deny records. */
export const reasons = {
  "dns-not-allowed": "no rule of the client's group allows this name",
  "denied-explicit": "an entry of deny names it, and deny wins over every allow",
  "dns-type": "this query type or class is never answered",
  "dns-malformed": "the query is malformed",
  "dns-rate": "the client exceeded its bound of queries, names or pins",
  "private-answer": "the name resolves to a private, loopback, link-local or gateway address",
  "ip-not-allowed": "no rule of the client's group allows this address",
  "port-not-allowed": "the name or address is allowed, but not on this port",
  "proto-not-allowed": "only TCP and UDP are ever opened",
  "deny-all": "the policy's mode is deny-all",
  "between-clients": "clients do not reach each other through the gateway",
  "gateway-port": "the gateway offers nothing on this port",
  "host-unknown": "the sender is on no client interface",
  "from-outside": "nobody opens connections towards clients",
  "spoofed-source": "the source address is not of where the packet came from",
  "source-route": "the packet names its own route",
  "not-ready":
    "nothing can be served yet: no release is loaded, a canary was not denied, or a new policy is taking effect",
} as const satisfies Record<string, string>;

export type Reason = keyof typeof reasons;
