import { isIP } from "node:net";
import type { Client, Decider, Decision } from "./decide.ts";
import { parseDomainName } from "./domain.ts";
import { accept, type Parsed, quoteText, refuse } from "./parsed.ts";
import { patternText } from "./pattern-text.ts";
import type { NameRule, NetworkRule, Policy, PolicyEntry, Protocol } from "./policy.ts";
import { portText } from "./ports.ts";
import { isProxiedPort } from "./proxied.ts";

/** What somebody asks about: a name or an address, and a port or all of them. */
export interface Target {
  readonly name: string | null;
  readonly address: string | null;
  readonly protocol: Protocol;
  readonly port: number | null;
}

const targetRemedy = "write api.example.com:443, api.example.com, 192.0.2.1:22, [2001:db8::1]:443 or name:443/udp";

/** Returns the target of a text such as `api.x.com:443/udp`, `192.0.2.1:22` or `[2001:db8::1]:443`. */
export function parseTarget(text: string): Parsed<Target> {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^[\]/\s]+?))(?::([0-9]{1,5}))?(?:\/(tcp|udp))?$/.exec(text);
  // A bare IPv6 address has colons of its own.
  const bare = isIP(text) === 6 ? text : null;
  if (match === null && bare === null) return refuse(`${quoteText(text)} is no target`, targetRemedy);
  const host = bare ?? match?.[1] ?? match?.[2] ?? "";
  const port = bare !== null || match?.[3] === undefined ? null : Number(match[3]);
  if (port !== null && (port < 1 || port > 65_535)) return refuse(`${port} is no port`, targetRemedy);
  const protocol: Protocol = match?.[4] === "udp" ? "udp" : "tcp";
  if (isIP(host) !== 0) return accept({ name: null, address: host, protocol, port });
  const domain = parseDomainName(host);
  return domain.ok ? accept({ name: domain.value, address: null, protocol, port }) : domain;
}

/** Returns the client that a text means: an address, a host entry, or `*` for a client in no host entry. */
export function findClient(decider: Decider, policy: Policy, from: string): Parsed<Client> {
  if (isIP(from) !== 0) return accept(decider.clientOf(from));
  const client = decider.clientNamed(from);
  if (client !== null) return accept(client);
  const known = ["*", ...policy.hosts.slice(0, 5).map((entry) => entry.name)];
  return refuse(
    `${quoteText(from)} is no address and no host entry`,
    `give an address, or one of: ${known.join(", ")}`,
  );
}

/** Returns the decision about a target by the same functions that the gate uses. Without a port: whether any is open. */
export function decideTarget(decider: Decider, client: Client, target: Target): Decision {
  const { name, address, protocol, port } = target;
  if (name !== null) {
    return port === null ? decider.decideName(client, name) : decider.decideNameFlow(client, name, protocol, port);
  }
  return decider.decideAddress(client, address ?? "", protocol, port ?? 443);
}

/** Returns the name or network of a rule as it is written. */
export function entryText(rule: PolicyEntry): string {
  return "pattern" in rule ? patternText(rule.pattern) : rule.network;
}

/** Returns how an allowed flow reaches a target: through the proxy, which judges the name, or straight to the address. */
export function pathTo(client: Client, { name, protocol, port }: Target): "proxy" | "address" {
  const isByProxy = name !== null && port !== null && isProxiedPort(client.group, protocol, port);
  return isByProxy ? "proxy" : "address";
}

/** Returns a rule as it is written, and where. */
export function ruleText(rule: NameRule | NetworkRule): string {
  const ports = rule.ports.length === 0 ? "no port" : rule.ports.map(portText).join(", ");
  return `${entryText(rule)} on ${ports} (${rule.place.file}:${rule.place.line})`;
}
