import { OVER_CAP } from "./marks.ts";
import { revokedRule } from "./nft-count.ts";
import { markToken } from "./tokens.ts";

/*
 * What becomes of a refused packet: it is counted, told of within a bound, and answered at once. The counters are the
 * totals; the log is for the records, and losing a line of it loses no count.
 */

/** Group of NFLOG that refused packets are sent to; the prefix of each says which rule refused it. */
export const DENY_LOG_GROUP = 17;

/** Which rule refused a packet, or let it pass under audit, as its prefix says: `clawgress:<origin> `. */
export const packetOrigins = ["forward", "outside", "reply", "input", "spoofed", "routed", "audit"] as const;
export type PacketOrigin = (typeof packetOrigins)[number];

/** Sets of the base table with a counter for each client whose packets were refused; the gate reads them. */
export const refusedSets = ["refused4", "refused6"] as const;

/** Counters of the base table, and those of the policy table; `clawgress stats` shows them. */
export const denyCounters = {
  clawgress_base: ["denied_forward", "denied_input", "denied_output", "denied_source", "denied_invalid"],
  clawgress: ["denied_bound", "over_limit"],
} as const;

/**
 * The same for each flow of a client; the key has the interface that a forwarded packet would have left by. Those that a
 * byte cap had no room for are apart: a key of six parts is more than nft 1.0.6 knows.
 */
export const refusedFlowSets = {
  forward: ["refused_forward4", "refused_forward6"],
  overCap: ["refused_capped4", "refused_capped6"],
  input: ["refused_input4", "refused_input6"],
} as const;
type FlowSets = keyof typeof refusedFlowSets;

/** A client that is silent for this long is forgotten; the gate looks every few seconds. */
const FORGET_MINUTES = 10;
const MAX_CLIENTS = 4096;
/** Beyond, packets are counted by client alone. */
const MAX_FLOWS = 8192;

/** Declares what `refuseRules` uses. */
export const refuseObjects = `add set inet clawgress_base refused4 { type ipv4_addr; flags dynamic,timeout; timeout ${FORGET_MINUTES}m; size ${MAX_CLIENTS}; }
add set inet clawgress_base refused6 { type ipv6_addr; flags dynamic,timeout; timeout ${FORGET_MINUTES}m; size ${MAX_CLIENTS}; }
${flowSets()}${denyCounters.clawgress_base.map((name) => `add counter inet clawgress_base ${name}\n`).join("")}`;

function flowSets(): string {
  const all = Object.keys(refusedFlowSets) as FlowSets[];
  return all.flatMap((sets) => [flowSet(sets, 4), flowSet(sets, 6)]).join("");
}

function flowSet(sets: FlowSets, family: 4 | 6): string {
  const address = family === 4 ? "ipv4_addr" : "ipv6_addr";
  const leaves = sets === "input" ? "" : " . ifname";
  const type = `${address} . ${address} . inet_proto . inet_service${leaves}`;
  return `add set inet clawgress_base ${refusedFlowSets[sets][family === 4 ? 0 : 1]} { type ${type}; flags dynamic,timeout; timeout ${FORGET_MINUTES}m; size ${MAX_FLOWS}; }\n`;
}

/** Counts a refused packet by its flow; one that finds no room goes on uncounted, to the refusal. */
function flowRules(sets: FlowSets): readonly string[] {
  const [four, six] = refusedFlowSets[sets];
  const key = (ip: string): string =>
    `${ip} saddr . ${ip} daddr . meta l4proto . th dport${sets === "input" ? "" : " . oifname"}`;
  const mark = { input: "", forward: `meta mark != ${overCap} `, overCap: `meta mark ${overCap} ` }[sets];
  return [
    `iifname @clients ${mark}meta l4proto { tcp, udp } update @${four} { ${key("ip")} counter }`,
    `iifname @clients ${mark}meta l4proto { tcp, udp } update @${six} { ${key("ip6")} counter }`,
  ];
}

/**
 * Returns the rules that refuse a packet of a hook. A client's rate comes before the rate of all, so that one that floods
 * hides no other's denials; who is no client shares one low rate. An invalid packet belongs to no connection that a reset
 * could end, so it is dropped in silence. Each limit has a rule of its own: what is over it goes on to the refusal.
 */
export function refuseRules(hook: "forward" | "input"): readonly string[] {
  const perClient = "counter limit rate 5/second burst 20 packets";
  const ofAll = "limit rate 100/second burst 200 packets";
  const others =
    hook === "input"
      ? [`iifname != @clients ${sharedLimit} ${log("input")}`]
      : [
          `iifname != @clients ct direction original ${sharedLimit} ${log("outside")}`,
          `iifname != @clients ct direction reply ${sharedLimit} ${log("reply")}`,
        ];
  return [
    "ct state invalid counter name denied_invalid drop",
    `counter name denied_${hook}`,
    ...(hook === "forward" ? [revokedRule] : []),
    `iifname @clients update @refused4 { ip saddr ${perClient} } ${ofAll} ${log(hook)}`,
    `iifname @clients update @refused6 { ip6 saddr ${perClient} } ${ofAll} ${log(hook)}`,
    ...others,
    ...flowRules(hook),
    ...(hook === "forward" ? flowRules("overCap") : []),
    "meta l4proto tcp reject with tcp reset",
    "reject with icmpx admin-prohibited",
  ];
}

/**
 * Returns the rules that drop a packet before a connection is made of it: its source is not where it claims to be, or it
 * names its own route. It gets no answer, since the claim may be another's.
 */
export function dropRules(counter: "denied_source" | "denied_bound", origin: "spoofed" | "routed"): readonly string[] {
  return [`counter name ${counter}`, `${sharedLimit} ${log(origin)}`, "drop"];
}

/** Tells of a flow that begins only because of an audit; it is not refused. */
export const auditLogRule = `ct state new limit rate 100/second burst 200 packets ${log("audit")}`;

/** Tells of a packet that a byte cap has no room for, and that an audit lets pass. */
export const auditOverCapRule = `limit rate 5/second burst 20 packets ${log("audit")}`;

const overCap = markToken(OVER_CAP);
const sharedLimit = "limit rate 5/second burst 20 packets";

/** 128 bytes hold the headers of IP and transport, IPv6 extensions included; nothing of a payload is of interest. */
function log(origin: PacketOrigin): string {
  return `log prefix "clawgress:${origin} " group ${DENY_LOG_GROUP} snaplen 128`;
}
