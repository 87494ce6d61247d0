import { type Family, rangeToCidrs } from "../policy/cidr.ts";
import type { Reason } from "../policy/reasons.ts";
import type { ProxySettings } from "../settings/settings.ts";
import { closedRanges } from "./closed-networks.ts";
import { type ProxyMap, proxyMaps } from "./proxy-maps.ts";
import { SUFFIX_LABELS } from "./proxy-names.ts";
import { doorRules, groupOf } from "./proxy-shares.ts";
import { portToken } from "./tokens.ts";

/**
 * The table of connections under way by `client|port|name|plane`: what is in it and no longer allowed can be ended. Once a
 * name has led to an address, gpt0 to gpt3 are that (IPv4: gpt3 alone), and gpt4 is its family; 0 until then.
 */
export const FLOW_TABLE = "flows";
/** Commit and serial in force, for answers to people, and the release: no part of a release, whose bytes no commit changes. */
export const ABOUT_MAP = "about.map";

const NAME_PATTERN = "^([a-z0-9_-]{1,63}\\.)*[a-z0-9_-]{1,63}$";
/**
 * The extension of an encrypted ClientHello, in hexadecimal: its number, a length, the outer form, a key derivation and a
 * cipher that there are, an identifier, and the length of a key that there is. GREASE has the same form on purpose. By
 * chance other bytes have it once in 2^60 hellos or so.
 */
const ECH_PATTERN = "FE0D....00000[123]000[123]..00(20|38|41|61|85)";
/** RFC 8446 §5.1: a record carries at most 2^14 bytes. */
const MAX_RECORD_BYTES = 16_384;

/** Caps that are used up, and when their period ends, in seconds since 1970: the agent tells it while the proxy runs. */
export const SPENT_MAP = "spent.map";

/** The gateway's own addresses, each with a 1: they come and go without a release. */
export const OWN_MAP = "own.map";

type Scope = "sess" | "txn";

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

/** The name itself, or a wildcard over one of its parents: an exact lookup each, however large the map is. */
function listedNames(scope: Scope, map: ProxyMap): readonly string[] {
  return nameLookups(scope, "listed", map, `@,${scope}.group`);
}

/**
 * Until when the name is open, by the most specific line that speaks of it: compared with the clock here, so that a name
 * closes in time though nobody is left who could say so.
 */
function openHours(scope: Scope, action: string, plane: "tls" | "http"): readonly string[] {
  const end = `@,${scope}.group),concat(|${plane})`;
  const keys = [
    `var(${scope}.name),concat(${end}`,
    // The longest parent first.
    ...SUFFIX_LABELS.toReversed().map((labels) => `var(${scope}.parent),word(-1,.,${labels}),concat(*${end}`),
  ];
  const until = `var(${scope}.until)`;
  return [
    `${action} set-var(${scope}.now) date`,
    ...keys.map((key) => {
      const lookup = `${key},map_str_int(${proxyMaps.hours})`;
      return `${action} set-var(${scope}.until) ${lookup} if !{ ${until} -m found } { ${lookup} -m found }`;
    }),
  ];
}

const IS_EXPIRED = (scope: Scope): string => `{ var(${scope}.until) -m int lt 0 }`;
const IS_CLOSED = (scope: Scope): string =>
  `{ var(${scope}.until) -m found } !{ var(${scope}.until),sub(${scope}.now) gt 0 }`;

/** What `deny` names, of everyone and of the client's group. */
function deniedNames(scope: Scope): readonly string[] {
  return [
    ...nameLookups(scope, "denied", proxyMaps.deny, "!"),
    ...nameLookups(scope, "denied", proxyMaps.deny, `@,${scope}.group`),
  ];
}

/** An ACL that holds when a map has a name or one of its parents, each as a key that ends in the same way. */
function nameLookups(scope: Scope, acl: string, map: ProxyMap, end: string, more = ""): readonly string[] {
  return [
    `\tacl ${acl} var(${scope}.name),concat(${end})${more},map_str(${map}) -m found`,
    ...SUFFIX_LABELS.map(
      (labels) =>
        `\tacl ${acl} var(${scope}.parent),word(-1,.,${labels}),concat(*${end})${more},map_str(${map}) -m found`,
    ),
  ];
}

type Rule = "tcp-request content" | "http-request";

/**
 * The cap that a name counts for, as a loopback address: its own, else that of the longest wildcard over it. Groups without
 * caps cost one lookup.
 */
function capOf(rule: Rule, scope: Scope): readonly string[] {
  const look = (what: string, conditions: string): string =>
    `\t${rule} set-var(${scope}.cap) ${what},map_str(${proxyMaps.caps}) if ${conditions}`;
  return [
    `\tacl capped str(@),concat(,${scope}.group),map_str(${proxyMaps.caps}) -m found`,
    `\tacl metered var(${scope}.cap) -m found`,
    `\t${rule} unset-var(${scope}.cap)`,
    look(`var(${scope}.name),concat(@,${scope}.group)`, "capped"),
    ...SUFFIX_LABELS.toReversed().map((labels) =>
      look(`var(${scope}.parent),word(-1,.,${labels}),concat(*@,${scope}.group)`, "capped !metered"),
    ),
    `\t${rule} set-var(${scope}.until) var(${scope}.cap),map_str_int(${SPENT_MAP},0) if metered`,
    // Through a variable: a condition on the clock itself would be waited for until it may be true.
    `\t${rule} set-var(${scope}.past) date,sub(${scope}.until) if metered`,
  ];
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

const NETWORKS_PER_LINE = 16;
const NEVER = ["six never6", "!six never4", "own"] as const;
const UNANSWERED = ["six private6 !answered", "!six private4 !answered"] as const;

/**
 * Declares what the address of a name may be refused for. The families are told apart first: HAProxy takes an IPv4
 * network and its 6to4 form for each other. `answers` belong to the name's rules, or to the innermost zone that it is in.
 */
function closedAddresses(scope: Scope, action: string, unless = ""): readonly string[] {
  const address = `var(${scope}.address)`;
  const find = (variable: string, from: string, condition: string): string =>
    `${action} set-var(${scope}.${variable}) ${from} if ${condition}`;
  const inner = `{ var(${scope}.inner) -m found }`;
  const zoneOf = (from: string): string =>
    find("zone", `${from},map_str(${proxyMaps.zones})`, `${inner} { ${from},map_str(${proxyMaps.zones}) -m found }`);
  return [
    `\tacl six ${address} -m sub :`,
    // Before the maps are looked at: whoever was judged by an old one is found by the address as well.
    ...noteAddress(address, action, unless),
    ...addressLines(address),
    `\tacl own ${address},map_ip(${OWN_MAP}) -m found`,
    find("region", `${address},map_ip(${proxyMaps.regions4})`, "!six"),
    find("region", `${address},map_ip(${proxyMaps.regions6})`, "six"),
    `\tacl denied_address var(${scope}.region),concat(!),map_str(${proxyMaps.deny}) -m found`,
    `\tacl denied_address var(${scope}.region),concat(@,${scope}.group),map_str(${proxyMaps.deny}) -m found`,
    find("inner", `${address},map_ip(${proxyMaps.inner4})`, "!six"),
    find("inner", `${address},map_ip(${proxyMaps.inner6})`, "six"),
    // The longest last: it stays.
    ...SUFFIX_LABELS.map((labels) => zoneOf(`var(${scope}.parent),word(-1,.,${labels})`)),
    zoneOf(`var(${scope}.name)`),
    ...nameLookups(scope, "answered", proxyMaps.answers, `@,${scope}.group,|`, `,concat(,${scope}.inner)`),
    `\tacl answered var(${scope}.zone),concat(=|,${scope}.inner),map_str(${proxyMaps.answers}) -m found`,
  ];
}

/** The flow's entry may be left of a request just before. */
function noAddress(action: string, condition?: string): readonly string[] {
  return [`${action} sc-set-gpt(4,1) int(0)${condition === undefined ? "" : ` if ${condition}`}`];
}

/** Its family last: by then the address is whole. */
function noteAddress(address: string, action: string, condition: string): readonly string[] {
  const note = (index: number, value: string, family: string): string =>
    `${action} sc-set-gpt(${index},1) ${value} if ${condition}${family}`;
  return [
    ...[0, 1, 2, 3].map((index) => note(index, `${address},bytes(${index * 4},4),hex,hex2i`, "six")),
    note(3, `${address},add(0)`, "!six"),
    note(4, "int(6)", "six"),
    note(4, "int(4)", "!six"),
  ];
}

function addressLines(address: string): readonly string[] {
  return ([4, 6] as const).flatMap((family) =>
    (["never", "private"] as const).flatMap((kind) => {
      const networks = closedRanges(family, kind).flatMap(rangeToCidrs);
      const count = Math.ceil(networks.length / NETWORKS_PER_LINE);
      return Array.from({ length: count }, (_, index) => {
        const some = networks.slice(index * NETWORKS_PER_LINE, (index + 1) * NETWORKS_PER_LINE);
        return `\tacl ${kind}${family} ${address} -m ip ${some.join(" ")}`;
      });
    }),
  );
}

/** One JSON object a line; `-` means nothing. Text of clients is escaped (`json`) before it gets here. */
function recordFormat(plane: "tls" | "http", scope: Scope): string {
  const variable = (name: string): string => `"%[var(${scope}.${name})]"`;
  const fields: readonly (readonly [key: string, value: string])[] = [
    ["id", '"%[uuid]"'],
    ["at", "%[date(0,ms)]"],
    ["plane", `"${plane}"`],
    ["reason", variable("reason")],
    ["client", '"%ci"'],
    ["clientPort", "%cp"],
    ["group", variable("group")],
    ["name", variable("shown")],
    ["address", variable("address")],
    ...(plane === "http" ? ([["status", "%ST"]] as const) : []),
    ["bytesUp", "%U"],
    ["bytesDown", "%B"],
    ["connectMs", "%Tc"],
    ["ms", "%Tt"],
    ["end", '"%ts"'],
    ...(plane === "tls" ? ([["ech", variable("ech")]] as const) : []),
    ["commit", `"${about("commit")}"`],
    ["serial", `"${about("serial")}"`],
  ];
  return `{${fields.map(([key, value]) => `"${key}":${value}`).join(",")}}`;
}

function about(key: "commit" | "serial"): string {
  return `%[str(${key}),map_str(${ABOUT_MAP})]`;
}

function answerFormat(error: string, how: string): string {
  const policy = `commit ${about("commit")}, serial ${about("serial")}`;
  return `{"error":"${error}","reason":"%[var(txn.reason)]","name":"%[var(txn.shown)]","policy":"${policy}","how":"${how}"}`;
}
