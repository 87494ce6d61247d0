import type { Family } from "../policy/cidr.ts";
import type { ProxySettings } from "../settings/settings.ts";
import { proxyMaps } from "./proxy-maps.ts";
import { numberToken } from "./tokens.ts";

/** Connections of each client, and how many of TLS (gpc0) and plain HTTP (gpc1) were refused after they were let in. */
export const CLIENT_TABLE = "clients";
/** Connections of each group, by `group|family`: so over one family nobody takes the other one's. */
const GROUP_TABLE = "shares";
/** How many of each client's were closed at the door: of TLS (gpc0) and of plain HTTP (gpc1). */
export const CLOSED_TABLE = "closed";

export type ProxyPlane = "tls" | "http";

/** A connection that is closed at the door counts as one for some microseconds: never may those be what fills the proxy. */
const DOOR = 64;
/** All frontends of clients: each counts what it carries, and all of them share what there is. */
const FRONTENDS = ["tls4", "tls6", "http4", "http6"] as const;
/** A group may have this many times what is free for others: three quarters of all when nobody else has any. */
const GROUP_TIMES = 3;
/** A client that has more than these gets more only while its group has no more than what is free: half of all. */
const FEW = 4;
/** A client may have one of so many parts of what is left to its group. */
const CLIENT_PARTS = 4;

/** Returns how many connections a frontend takes at most: more than there are to give, so that it never stops accepting. */
export function frontendRoom({ maxConnections }: ProxySettings): string {
  return numberToken(maxConnections + DOOR, 1, 1_000_000);
}

/** Returns how many the whole proxy takes at most: what goes through the relay counts twice. */
export function wholeRoom({ maxConnections }: ProxySettings): string {
  return numberToken(2 * maxConnections + 4 * DOOR, 1, 3_000_000);
}

/**
 * Returns the rules at a frontend's door. Who has too many connections already is closed before anything is read, at
 * once: a full frontend would leave everybody else's waiting.
 *
 * What a group may have shrinks with what is free, and what a client may have with what is left to its group. So
 * however many there are, and whatever addresses one machine gives itself, something stays free: a group that takes all that
 * it gets leaves a quarter to the others, and its clients with many leave as much to those with few.
 */
export function doorRules(proxy: ProxySettings, family: Family, plane: ProxyPlane): readonly string[] {
  const rule = "\ttcp-request connection";
  const set = (variable: string, value: string): string => `${rule} set-var(sess.${variable}) ${value}`;
  const most = numberToken(proxy.maxConnections, 1, 1_000_000);
  const mostOfClient = numberToken(proxy.maxConnectionsPerClient, 1, 1_000_000);
  const halfLeft = `var(sess.left)${",sub(sess.of_group)".repeat(GROUP_TIMES - 1)}`;
  const count = plane === "tls" ? "src_inc_gpc0" : "src_inc_gpc1";
  return [
    // A counter is one connection's from here to its end: the flow has the one between.
    `${rule} track-sc0 src table ${CLIENT_TABLE}`,
    `${rule} track-sc2 ${groupOf(family)},concat(|${family}) table ${GROUP_TABLE}`,
    set("carried", "int(0)"),
    ...FRONTENDS.map((name) => set("carried", `fe_conn(${name}),add(sess.carried)`)),
    set("of_group", "sc2_conn_cur"),
    set("of_client", `sc0_conn_cur,mul(${CLIENT_PARTS})`),
    set("left", `int(${most}),sub(sess.carried),mul(${GROUP_TIMES}),sub(sess.of_group),sub(sess.of_client)`),
    `${rule} set-var(sess.many) bool(1) if { var(sess.left) -m int lt 0 }`,
    `${rule} set-var(sess.many) bool(1) if { sc0_conn_cur gt ${mostOfClient} }`,
    `${rule} set-var(sess.many) bool(1) if { sc0_conn_cur gt ${FEW} } { ${halfLeft} -m int lt 0 }`,
    // The last condition counts.
    `${rule} reject if { var(sess.many) -m bool } { ${count}(${CLOSED_TABLE}) gt 0 }`,
  ];
}

/** The group of a connection's client. */
export function groupOf(family: Family): string {
  return `src,map_ip(${family === 4 ? proxyMaps.groups4 : proxyMaps.groups6},*)`;
}

/** Returns the tables that `doorRules` count in. They have room for every connection that there can be. */
export function doorTables(room: string): readonly string[] {
  return [
    `backend ${CLIENT_TABLE}`,
    `\tstick-table type ipv6 size ${room} expire 10m store conn_cur,gpc0,gpc1`,
    `backend ${GROUP_TABLE}`,
    `\tstick-table type string len 80 size ${room} expire 1s store conn_cur`,
    `backend ${CLOSED_TABLE}`,
    `\tstick-table type ipv6 size ${room} expire 10m store gpc0,gpc1`,
  ];
}
