/** Where a decision is made: at a DNS question, at a packet, at a ClientHello, at a plain HTTP request. */
export type Plane = "dns" | "ip" | "tls" | "http";

/**
 * How much a person should care. `info`: nothing was forbidden. `low`: what a policy denies every day. `medium`: no
 * well-meant program does that often. `high`: somebody tries, or the gateway is not well.
 */
export type Severity = "info" | "low" | "medium" | "high";

interface ReasonFacts {
  readonly planes: readonly Plane[];
  readonly severity: Severity;
  readonly text: string;
}

const dns: readonly Plane[] = ["dns"];
const ip: readonly Plane[] = ["ip"];
const tls: readonly Plane[] = ["tls"];
const http: readonly Plane[] = ["http"];
const proxy: readonly Plane[] = ["tls", "http"];
const everywhere: readonly Plane[] = ["dns", "ip", "tls", "http"];

/** Why something was decided as it was: one enumeration for all planes, `explain` and the records. */
export const reasons = {
  "dns-not-allowed": { planes: dns, severity: "low", text: "no rule of the client's group allows this name" },
  "denied-explicit": {
    planes: everywhere,
    severity: "medium",
    text: "an entry of deny names it, and deny wins over every allow",
  },
  "outside-window": {
    planes: everywhere,
    severity: "low",
    text: "a rule allows it, but not at this time of the week",
  },
  expired: { planes: everywhere, severity: "low", text: "the entry that allowed it has expired" },
  "dns-type": { planes: dns, severity: "info", text: "this query type or class is never answered" },
  "dns-malformed": { planes: dns, severity: "medium", text: "the query is malformed" },
  "dns-rate": { planes: dns, severity: "medium", text: "the client exceeded its bound of queries, names or pins" },
  "private-answer": {
    planes: ["dns", "tls", "http"],
    severity: "medium",
    text: "the name resolves to a private, loopback, link-local or gateway address",
  },
  "ip-not-allowed": { planes: ip, severity: "low", text: "no rule of the client's group allows this address" },
  "port-not-allowed": {
    planes: ip,
    severity: "low",
    text: "the name or address is allowed, but not on this port",
  },
  "proto-not-allowed": { planes: ip, severity: "medium", text: "only TCP and UDP are ever opened" },
  "deny-all": { planes: ["dns", "ip"], severity: "low", text: "the policy's mode is deny-all" },
  "between-clients": { planes: ip, severity: "medium", text: "clients do not reach each other through the gateway" },
  "gateway-port": { planes: ip, severity: "medium", text: "the gateway offers nothing on this port" },
  "host-unknown": { planes: ["dns", "ip"], severity: "high", text: "the sender is on no client interface" },
  "from-outside": { planes: ip, severity: "low", text: "nobody opens connections towards clients" },
  "spoofed-source": { planes: ip, severity: "high", text: "the source address is not of where the packet came from" },
  "source-route": { planes: ip, severity: "high", text: "the packet names its own route" },
  quota: {
    planes: ["ip", "tls", "http"],
    severity: "medium",
    text: "what the host may send to this name in a period is used up",
  },
  "not-ready": {
    planes: ["dns", "ip"],
    severity: "high",
    text: "nothing can be served yet: no release is loaded, a canary was not denied, or a new policy is taking effect",
  },
  allowed: { planes: proxy, severity: "info", text: "a rule of the client's group allows it" },
  "not-tls": {
    planes: tls,
    severity: "medium",
    text: "what the client sends to port 443 is no TLS ClientHello",
  },
  "hello-timeout": { planes: tls, severity: "low", text: "the client did not send a whole ClientHello within 5 s" },
  "hello-fragmented": {
    planes: tls,
    severity: "medium",
    text: "the ClientHello is spread over several TLS records, which the proxy does not put together",
  },
  "sni-missing": { planes: tls, severity: "medium", text: "the ClientHello names no server" },
  "sni-malformed": {
    planes: tls,
    severity: "medium",
    text: "the server name, or the record that it is in, is malformed",
  },
  "sni-not-allowed": { planes: tls, severity: "low", text: "no rule of the client's group allows TLS to this name" },
  "host-missing": { planes: http, severity: "medium", text: "the HTTP request names no host" },
  "host-malformed": {
    planes: http,
    severity: "medium",
    text: "the host of the HTTP request is no host name, or has another port",
  },
  "host-not-allowed": {
    planes: http,
    severity: "low",
    text: "no rule of the client's group allows plain HTTP to this name",
  },
  "method-not-allowed": {
    planes: http,
    severity: "medium",
    text: "CONNECT would make a tunnel that nobody sees into",
  },
  "http-malformed": {
    planes: http,
    severity: "medium",
    text: "the request is no HTTP/1 request that has only one meaning",
  },
  "resolve-failed": { planes: proxy, severity: "info", text: "the name has no address at the moment" },
  "connect-failed": {
    planes: proxy,
    severity: "info",
    text: "the name is allowed, but its server could not be reached",
  },
  "proxy-rate": {
    planes: proxy,
    severity: "medium",
    text: "the client has too many connections through the proxy, or the proxy is full",
  },
} as const satisfies { readonly [reason: string]: ReasonFacts };

export type Reason = keyof typeof reasons;
