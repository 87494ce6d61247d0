import type { PolicyDocument, ProxyDocument } from "./document.ts";
import { joinRules } from "./drafts.ts";
import type { IssueLog } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { patternText } from "./pattern-text.ts";
import type { NameRule, Rules } from "./policy.ts";
import { includesPort, withoutPorts } from "./ports.ts";
import { QUIC_PORT, TLS_PORT } from "./proxied.ts";
import type { RuleContext } from "./read-names.ts";
import { readTlsNames } from "./rules.ts";

/** What `proxy` means for one group: whether SNI mode is on, and the names that TLS may be opened to. */
export interface ProxyMeaning {
  readonly isProxied: boolean;
  /** Null: the names of the `allow` in question that have port 443. */
  readonly tlsNames: Rules | null;
}

const CLOSED_PORTS = [TLS_PORT, QUIC_PORT] as const;

/** Returns the meaning of the global `proxy`. */
export function readGlobalProxy(document: PolicyDocument, context: RuleContext): ProxyMeaning {
  return readProxy(document.proxy, "/proxy", document.proxy?.mode, context);
}

/**
 * Returns the meaning of a host's `proxy`. A host that says nothing about the mode has the global one, and its own list
 * of names only if it writes one.
 */
export function readHostProxy(
  proxy: ProxyDocument | undefined,
  pointer: string,
  everyone: ProxyMeaning,
  context: RuleContext,
): ProxyMeaning {
  return readProxy(proxy, pointer, modeOf(proxy, everyone), context);
}

/** Returns whether a host's `proxy` means anything else than the global one does. */
export function hasOwnProxy(proxy: ProxyDocument | undefined, everyone: ProxyMeaning): boolean {
  return proxy?.domains !== undefined || (modeOf(proxy, everyone) === "sni-allowlist") !== everyone.isProxied;
}

function modeOf(proxy: ProxyDocument | undefined, everyone: ProxyMeaning): ProxyDocument["mode"] {
  return proxy?.mode ?? (everyone.isProxied ? "sni-allowlist" : "disabled");
}

function readProxy(
  proxy: ProxyDocument | undefined,
  pointer: string,
  mode: ProxyDocument["mode"],
  context: RuleContext,
): ProxyMeaning {
  const { log } = context;
  const isProxied = mode === "sni-allowlist";
  const domains = joinPointer(pointer, "domains");
  const tlsNames = proxy?.domains === undefined ? null : readTlsNames(proxy.domains, domains, context);
  if (isProxied && proxy?.backend === "none") {
    const place = log.locate(joinPointer(pointer, "backend"));
    log.warn(
      place,
      'no packet filter sees a server name, so in SNI mode the backend is "haproxy"',
      "remove the backend",
    );
  }
  return { isProxied, tlsNames };
}

/**
 * Returns rules as SNI mode means them: TLS goes to the listed names, else to those that have port 443 anyway; no
 * network opens 443, and UDP on 443 is closed for everything.
 */
export function applyProxy(rules: Rules, meaning: ProxyMeaning, log: IssueLog): Rules {
  if (!meaning.isProxied) return rules;
  const { tlsNames } = meaning;
  const closed = tlsNames === null ? [QUIC_PORT] : CLOSED_PORTS;
  const names = rules.names.map((rule) => ({ ...rule, ports: withoutPorts(rule.ports, closed) }));
  const networks = rules.networks.map((rule) => ({ ...rule, ports: withoutPorts(rule.ports, CLOSED_PORTS) }));
  const open = { names, networks: networks.filter((rule) => rule.ports.length > 0) };
  return tlsNames === null ? open : joinRules([open, tlsNames], log);
}

/** Warns of a list of names for TLS that no group in SNI mode goes by. */
export function lintUnusedList(meaning: ProxyMeaning, isUsed: boolean, pointer: string, log: IssueLog): void {
  if (meaning.tlsNames === null || isUsed) return;
  const place = log.locate(joinPointer(pointer, "domains"), "key");
  log.warn(place, "the list has no effect while SNI mode is off", 'write "mode": "sni-allowlist", or remove the list');
}

/** Warns of what people wrote into a list and SNI mode does not open. */
export function lintProxied(rules: Rules, meaning: ProxyMeaning, log: IssueLog): void {
  if (!meaning.isProxied) return;
  const kept = new Set(applyProxy(rules, meaning, log).names.flatMap(openText));
  for (const rule of rules.names) {
    if (rule.ports.length === 0 || kept.has(patternText(rule.pattern))) continue;
    const message = `${patternText(rule.pattern)} opens nothing: in SNI mode 443 goes to the names of the proxy's list`;
    log.warn(rule.place, message, "add it to the domains of proxy, or remove it here");
  }
  for (const { network, ports, place } of rules.networks) {
    if (withoutPorts(ports, CLOSED_PORTS).length > 0) continue;
    log.warn(place, `${network} opens nothing: in SNI mode no address opens port 443`, "add other ports, or remove it");
  }
  const quic = [...rules.names, ...rules.networks].find(({ ports }) =>
    includesPort(ports, QUIC_PORT.protocol, QUIC_PORT.first),
  );
  if (quic === undefined) return;
  log.warn(quic.place, "443/udp stays closed in SNI mode: nobody sees the names in QUIC", "remove 443/udp");
}

function openText({ pattern, ports }: NameRule): readonly string[] {
  return ports.length === 0 ? [] : [patternText(pattern)];
}
