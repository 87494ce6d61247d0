import type { ProxySettings, Settings } from "../settings/settings.ts";
import { FLOW_TABLE } from "./haproxy-addresses.ts";
import { httpFrontend, relayFrontend, tlsFrontend } from "./haproxy-frontends.ts";
import { doorTables, frontendRoom, wholeRoom } from "./proxy-shares.ts";
import { numberToken, portToken } from "./tokens.ts";

/** The proxy's configuration among the artifacts. */
export const PROXY_CONF = "haproxy.cfg";
/** Where the running proxy takes commands, seen from the folder that it is started in. */
export const PROXY_SOCKET = "control/stats.sock";
/** The ring of memory that keeps the proxy's records until they are fetched. */
export const RECORD_RING = "records";

/**
 * Returns haproxy.cfg. It depends on agent.json alone: what a policy changes lies in the maps, which the running proxy
 * takes over without losing a connection. Paths are relative to the folder that it is started in.
 *
 * A verdict is per client and name, and the far address is what named says for that name at that moment; what the client
 * dialled counts for nothing. Each address family has frontends of its own, because HAProxy takes an IPv4 network and
 * its 6to4 form for each other when it compares addresses.
 */
export function renderProxyConf({ proxy, dns }: Pick<Settings, "proxy" | "dns">): string {
  const frontends = ([4, 6] as const).flatMap((family) => [tlsFrontend(proxy, family), httpFrontend(proxy, family)]);
  return [
    ...head(proxy, portToken(dns.namedPort)),
    ...frontends.flat(),
    ...relayFrontend(proxy),
    ...backends(proxy),
    "",
  ].join("\n");
}

/** A legal ClientHello in one record has 16,389 bytes, and 1,024 of every buffer are kept free. */
const BUFFER_BYTES = 20_480;

function head(proxy: ProxySettings, namedPort: string): readonly string[] {
  return [
    "global",
    `\tmaxconn ${wholeRoom(proxy)}`,
    `\ttune.bufsize ${BUFFER_BYTES}`,
    `\tstats socket unix@${PROXY_SOCKET} mode 600 level admin`,
    "\tstats timeout 1h",
    `\tlog ring@${RECORD_RING} len 4096 format raw local0`,
    `ring ${RECORD_RING}`,
    "\tformat raw",
    "\tmaxlen 4096",
    "\tsize 4194304",
    // named answers from its cache, or asks upstream for a few seconds.
    "resolvers named",
    `\tnameserver named 127.0.0.1:${namedPort}`,
    "\taccepted_payload_size 4096",
    "\tresolve_retries 3",
    "\ttimeout resolve 1s",
    "\ttimeout retry 1s",
    ...["valid", "nx", "other", "refused", "timeout", "obsolete"].map((what) => `\thold ${what} 1s`),
    "defaults",
    "\tlog global",
    `\tmaxconn ${frontendRoom(proxy)}`,
    // A server that cannot be reached is told of at once, and whoever waits for one can be ended.
    "\tretries 0",
    "\toption abortonclose",
    "\toption clitcpka",
    "\toption srvtcpka",
    "\ttimeout connect 5s",
    "\ttimeout client 1h",
    "\ttimeout server 1h",
    "\ttimeout http-request 10s",
    "\ttimeout http-keep-alive 60s",
  ];
}

/** The tables have room for every connection that there can be, so that none goes unseen. */
function backends({ maxConnections }: ProxySettings): readonly string[] {
  const room = numberToken(maxConnections * 2, 1, 2_000_000);
  return [
    `backend ${FLOW_TABLE}`,
    `\tstick-table type string len 340 size ${room} expire 1s store conn_cur,gpt(5)`,
    ...doorTables(room),
    "backend tls",
    "\tmode tcp",
    "\tserver far 0.0.0.0:0",
    "backend http",
    "\tmode http",
    "\toption http-server-close",
    "\tserver far 0.0.0.0:0",
    ...(["tcp", "http"] as const).flatMap((mode) => [
      `backend ${mode === "tcp" ? "tls" : mode}_metered`,
      `\tmode ${mode}`,
      ...(mode === "http" ? ["\toption http-server-close", "\thttp-reuse never"] : []),
      "\tserver relay 0.0.0.0:0 send-proxy-v2 proxy-v2-options unique-id",
    ]),
  ];
}
