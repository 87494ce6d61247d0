import type { Group, Policy, PortRange, Protocol } from "./policy.ts";
import { includesPort, withoutPorts } from "./ports.ts";

/** What the proxy of SNI mode takes over: TLS by the name in its ClientHello, plain HTTP by the name in each request. */
export const TLS_PORT: PortRange = { protocol: "tcp", first: 443, last: 443 };
export const HTTP_PORT: PortRange = { protocol: "tcp", first: 80, last: 80 };
/** QUIC has a ClientHello too, but an encrypted one: it stays closed, so that clients fall back to TCP. */
export const QUIC_PORT: PortRange = { protocol: "udp", first: 443, last: 443 };

const PROXIED_PORTS: readonly PortRange[] = [TLS_PORT, HTTP_PORT];

/** Returns whether flows of a group to a *name* on a port go through the proxy. */
export function isProxiedPort(group: Group, protocol: Protocol, port: number): boolean {
  return group.isProxied && includesPort(PROXIED_PORTS, protocol, port);
}

/** Returns those ports of a name that open its addresses: all of them, or without what the proxy takes over. */
export function addressPorts(group: Group, ports: readonly PortRange[]): readonly PortRange[] {
  return group.isProxied ? withoutPorts(ports, PROXIED_PORTS) : ports;
}

/** Returns whether anything of a policy goes through the proxy. */
export function needsProxy(policy: Policy): boolean {
  return policy.mode !== "deny-all" && policy.groups.some((group) => group.isProxied && group.mode === undefined);
}

/** Returns the policy as packets are judged by their addresses: names have only the ports that open addresses. */
export function addressView(policy: Policy): Policy {
  const groups = policy.groups.map((group) =>
    group.isProxied
      ? { ...group, names: group.names.map((rule) => ({ ...rule, ports: addressPorts(group, rule.ports) })) }
      : group,
  );
  return { ...policy, groups };
}
