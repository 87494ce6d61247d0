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

/** What the proxy of SNI mode says to a connection or request, beside `private-answer` and `denied-explicit`; its records have all. */
export const proxyReasons = {
  allowed: "a rule of the client's group allows it",
  "not-tls": "what the client sends to port 443 is no TLS ClientHello",
  "hello-timeout": "the client did not send a whole ClientHello within 5 s",
  "hello-fragmented": "the ClientHello is spread over several TLS records, which the proxy does not put together",
  "sni-missing": "the ClientHello names no server",
  "sni-malformed": "the server name, or the record that it is in, is malformed",
  "sni-not-allowed": "no rule of the client's group allows TLS to this name",
  "host-missing": "the HTTP request names no host",
  "host-malformed": "the host of the HTTP request is no host name, or has another port",
  "host-not-allowed": "no rule of the client's group allows plain HTTP to this name",
  "method-not-allowed": "CONNECT would make a tunnel that nobody sees into",
  "http-malformed": "the request is no HTTP/1 request that has only one meaning",
  "resolve-failed": "the name has no address at the moment",
  "connect-failed": "the name is allowed, but its server could not be reached",
  "proxy-rate": "the client has too many connections through the proxy, or the proxy is full",
} as const satisfies Record<string, string>;

export type ProxyReason = keyof typeof proxyReasons | Extract<Reason, "private-answer" | "denied-explicit">;
