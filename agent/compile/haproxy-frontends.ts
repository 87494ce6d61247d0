import type { Family } from "../policy/cidr.ts";
import type { Reason } from "../policy/reasons.ts";
import type { ProxySettings } from "../settings/settings.ts";
import { closedAddresses, FLOW_TABLE, NEVER, noAddress, UNANSWERED } from "./haproxy-addresses.ts";
import {
  capOf,
  deniedNames,
  IS_CLOSED,
  IS_EXPIRED,
  listedNames,
  openHours,
  type Rule,
  type Scope,
} from "./haproxy-lookups.ts";
import { answerFormat, recordFormat } from "./haproxy-records.ts";
import { proxyMaps } from "./proxy-maps.ts";
import { doorRules, groupOf } from "./proxy-shares.ts";
import { portToken } from "./tokens.ts";

const NAME_PATTERN = "^([a-z0-9_-]{1,63}\\.)*[a-z0-9_-]{1,63}$";
/**
 * The extension of an encrypted ClientHello, in hexadecimal: its number, a length, the outer form, a key derivation and a
 * cipher that there are, an identifier, and the length of a key that there is. GREASE has the same form on purpose. By
 * chance other bytes have it once in 2^60 hellos or so.
 */
const ECH_PATTERN = "FE0D....00000[123]000[123]..00(20|38|41|61|85)";
/** RFC 8446 §5.1: a record carries at most 2^14 bytes. */
const MAX_RECORD_BYTES = 16_384;

/**
 * Returns the frontend for intercepted TLS of one address family. Each rule sets the reason of the next refusal first.
 * A name is tracked before its client's group and the maps are looked at: so whoever was judged by an old map is in the
 * table by the time that the new map holds.
 */
export function tlsFrontend(proxy: ProxySettings, family: Family): readonly string[] {
  const set = (variable: string, value: string): string => `\ttcp-request content set-var(sess.${variable}) ${value}`;
  const rejectAs = (reason: Reason, ...conditions: readonly string[]): readonly string[] => [
    set("reason", `str(${reason})`),
    ...conditions.map((condition) => `${set("no", "bool(1)")} if ${condition}`),
    "\ttcp-request content sc-inc-gpc0(0) if no",
    "\ttcp-request content reject if no",
  ];
  return [
    `frontend tls${family}`,
    "\tmode tcp",
    bind(family, proxy.httpsPort),
    `\tlog-format '${recordFormat("tls", "sess")}'`,
    "\ttcp-request inspect-delay 5s",
    ...doorRules(proxy, family, "tls"),
    "\tacl no var(sess.no) -m bool",
    ...rejectAs("hello-timeout", "!{ req.len gt 0 }"),
    ...rejectAs("not-tls", "!{ req.payload(0,1) -m bin 16 }"),
    ...rejectAs("hello-timeout", "!{ req.payload(0,9) -m found }"),
    ...rejectAs("not-tls", "!{ req.payload(1,1) -m bin 03 }"),
    set("record", "req.payload(3,2),hex,hex2i"),
    set("hello", "req.payload(6,3),hex,hex2i,add(4)"),
    ...rejectAs("sni-malformed", `{ var(sess.record) -m int gt ${MAX_RECORD_BYTES} }`),
    // A hello in several records would have to be put together first.
    ...rejectAs("hello-fragmented", "{ var(sess.record) -m int lt 4 }", "{ var(sess.record),sub(sess.hello) lt 0 }"),
    ...rejectAs("not-tls", "!{ req.payload(5,1) -m bin 01 }"),
    ...rejectAs("hello-timeout", "!{ req.ssl_hello_type 1 }"),
    // The record by its own length: of a payload without one, more might come, and the proxy would wait for it.
    `${set("ech", "bool(1)")} if { req.payload_lv(3,2),hex -m reg ${ECH_PATTERN} }`,
    ...rejectAs("sni-missing", "!{ req.ssl_sni -m found }"),
    set("shown", "req.ssl_sni,bytes(0,253),json(utf8s)"),
    set("name", "req.ssl_sni,lower,regsub(\\.$,)"),
    ...rejectAs("sni-malformed", `!{ var(sess.name) -m reg ${NAME_PATTERN} }`),
    set("parent", "var(sess.name),regsub(^[^.]*\\.,)"),
    set("port", "src_port"),
    set("flow", "src,concat(|,sess.port,|),concat(,sess.name),concat(|tls)"),
    `\ttcp-request content track-sc1 var(sess.flow) table ${FLOW_TABLE}`,
    ...noAddress("\ttcp-request content"),
    ...rejectAs("proxy-rate", "!{ sc1_tracked }"),
    set("group", groupOf(family)),
    ...deniedNames("sess"),
    ...rejectAs("denied-explicit", "denied"),
    ...listedNames("sess", proxyMaps.tls),
    ...rejectAs("sni-not-allowed", "!listed"),
    ...openHours("sess", "\ttcp-request content", "tls"),
    ...rejectAs("expired", IS_EXPIRED("sess")),
    ...rejectAs("outside-window", IS_CLOSED("sess")),
    ...capOf("tcp-request content", "sess"),
    ...rejectAs("quota", "metered { var(sess.past) -m int lt 0 }"),
    set("reason", "str(resolve-failed)"),
    `\ttcp-request content do-resolve(sess.address,named,ipv${family}) var(sess.name)`,
    ...rejectAs("resolve-failed", "!{ var(sess.address) -m found }"),
    ...closedAddresses("sess", "\ttcp-request content"),
    ...rejectAs("private-answer", ...NEVER),
    ...rejectAs("denied-explicit", "denied_address"),
    ...rejectAs("private-answer", ...UNANSWERED),
    ...setTarget("tcp-request content", "sess", 443, proxy),
    set("reason", "str(allowed)"),
    "\tuse_backend tls_metered if metered",
    "\tdefault_backend tls",
  ];
}

/** Returns the frontend for intercepted plain HTTP of one address family: every request is judged by its own Host. */
export function httpFrontend(proxy: ProxySettings, family: Family): readonly string[] {
  const set = (variable: string, value: string): string => `\thttp-request set-var(txn.${variable}) ${value}`;
  const denyAs = (reason: Reason, ...conditions: readonly string[]): readonly string[] =>
    conditions.map((condition) => `${set("reason", `str(${reason})`)} if ok ${condition}`);
  const answer = (status: number, error: string, how: string): string =>
    `\thttp-request return status ${status} content-type application/json hdr cache-control no-store lf-string '${answerFormat(error, how)}'`;
  return [
    `frontend http${family}`,
    "\tmode http",
    bind(family, proxy.httpPort),
    "\toption disable-h2-upgrade",
    "\toption dontlognull",
    "\toption http-ignore-probes",
    `\tlog-format '${recordFormat("http", "txn")}'`,
    ...doorRules(proxy, family, "http"),
    "\tacl ok var(txn.reason) -m str allowed",
    set("reason", "str(allowed)"),
    // The whole field: `req.hdr` would take the last item of a list.
    set("host", "req.fhdr(host)"),
    set("shown", "var(txn.host),bytes(0,253),json(utf8s)"),
    set("name", "var(txn.host),lower,regsub(:80$,),regsub(\\.$,)"),
    ...denyAs("host-missing", "!{ var(txn.host) -m found }", "{ var(txn.host) -m len 0 }"),
    ...denyAs("host-malformed", `!{ var(txn.name) -m reg ${NAME_PATTERN} }`),
    ...denyAs("method-not-allowed", "METH_CONNECT"),
    set("parent", "var(txn.name),regsub(^[^.]*\\.,)"),
    set("port", "src_port"),
    set("flow", "src,concat(|,txn.port,|),concat(,txn.name),concat(|http)"),
    `\thttp-request track-sc1 var(txn.flow) table ${FLOW_TABLE} if ok`,
    ...noAddress("\thttp-request", "ok"),
    ...denyAs("proxy-rate", "!{ sc1_tracked }"),
    set("group", groupOf(family)),
    ...deniedNames("txn"),
    ...denyAs("denied-explicit", "denied"),
    ...listedNames("txn", proxyMaps.http),
    ...denyAs("host-not-allowed", "!listed"),
    ...openHours("txn", "\thttp-request", "http"),
    ...denyAs("expired", IS_EXPIRED("txn")),
    ...denyAs("outside-window", IS_CLOSED("txn")),
    ...capOf("http-request", "txn"),
    ...denyAs("quota", "metered { var(txn.past) -m int lt 0 }"),
    `\thttp-request do-resolve(txn.address,named,ipv${family}) var(txn.name) if ok`,
    ...denyAs("resolve-failed", "!{ var(txn.address) -m found }"),
    ...closedAddresses("txn", "\thttp-request", "ok "),
    ...denyAs("private-answer", ...NEVER),
    ...denyAs("denied-explicit", "denied_address"),
    ...denyAs("private-answer", ...UNANSWERED),
    "\thttp-request sc-inc-gpc1(0) if !ok",
    `${answer(429, "quota_used_up", "what this machine may send there is used up until %[var(txn.until),utime(%Y-%m-%dT%H:%M:%SZ)]")} if { var(txn.reason) -m str quota }`,
    `${answer(502, "name_not_resolved", "the name has no address now; try again later")} if { var(txn.reason) -m str resolve-failed }`,
    `${answer(403, "policy_denied", "ask for a change of the policy; clawgress explain says what is missing")} if !ok`,
    // After an upgrade to HTTP/2 further requests would not be seen.
    "\thttp-request del-header upgrade if { req.hdr(upgrade) -m sub -i h2c }",
    ...setTarget("http-request", "txn", 80, proxy),
    "\tuse_backend http_metered if metered",
    "\tdefault_backend http",
  ];
}

function bind(family: Family, port: number): string {
  return family === 4 ? `\tbind 0.0.0.0:${portToken(port)}` : `\tbind :::${portToken(port)} v6only`;
}

/** Where a connection goes: to the server, or by way of the relay, which is told of the server in the PROXY protocol. */
function setTarget(rule: Rule, scope: Scope, port: number, { relayPort }: ProxySettings): readonly string[] {
  return [
    `\tunique-id-format "%[var(${scope}.address)]|${portToken(port)}"`,
    `\t${rule} set-dst var(${scope}.address) if !metered`,
    `\t${rule} set-dst-port int(${portToken(port)}) if !metered`,
    `\t${rule} set-dst var(${scope}.cap) if metered`,
    `\t${rule} set-dst-port int(${portToken(relayPort)}) if metered`,
  ];
}

/**
 * Returns the frontend that the proxy's own connections for names with a byte cap arrive at: the kernel counts what they
 * bring, because each cap has a loopback address of its own. When it refuses one, the sending side is reset; the other
 * side notices by itself within seconds.
 */
export function relayFrontend({ relayPort }: ProxySettings): readonly string[] {
  return [
    "frontend relay",
    "\tmode tcp",
    `\tbind 0.0.0.0:${portToken(relayPort)} accept-proxy`,
    "\tno log",
    "\tclitcpka-idle 1s",
    "\tclitcpka-intvl 1s",
    "\tclitcpka-cnt 2",
    "\ttcp-request content set-var(sess.address) fc_pp_unique_id,field(1,|)",
    "\ttcp-request content set-var(sess.port) fc_pp_unique_id,field(2,|)",
    "\ttcp-request content reject unless { var(sess.address) -m found } { var(sess.port) -m found }",
    "\ttcp-request content set-dst var(sess.address)",
    "\ttcp-request content set-dst-port var(sess.port)",
    "\tdefault_backend tls",
  ];
}
