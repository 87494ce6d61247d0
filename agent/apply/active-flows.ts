import { listConnections } from "../host/connections.ts";
import { readFileIfAny } from "../host/files.ts";
import { formatAddress, parseAddress } from "../policy/cidr.ts";

/** Listing more takes the kernel and us long enough to be felt. */
const MAX_TRACKED = 65_536;
const TRACKED_FILE = "/proc/sys/net/netfilter/nf_conntrack_count";
const LIMITS = { timeoutMs: 10_000, maxOutputBytes: 64 * 1024 * 1024 };

/**
 * Returns client → flows that the rules let through and that are established: TCP connections with both ends there, and
 * UDP flows that were answered and that the kernel has not forgotten. Null when nobody can tell: the program `conntrack`
 * is missing, or the kernel tracks too many to list. What only an audit lets pass is among them.
 */
export async function readActiveFlows(): Promise<ReadonlyMap<string, number> | null> {
  const tracked = Number((await readFileIfAny(TRACKED_FILE, 32).catch(() => null))?.toString("utf8") ?? "0");
  if (tracked > MAX_TRACKED) return null;
  const lines = await listConnections(LIMITS);
  return lines === null ? null : countActiveFlows(lines);
}

/** Returns the established flows with a grant of each client in the lines of `conntrack -L`. */
export function countActiveFlows(lines: readonly string[]): ReadonlyMap<string, number> {
  const flows = new Map<string, number>();
  for (const line of lines) {
    const [, protocol, rest = ""] = /^(tcp|udp) +[0-9]+ +[0-9]+ (.*)$/.exec(line) ?? [];
    const isEstablished = protocol === "tcp" ? rest.startsWith("ESTABLISHED ") : !rest.includes("[UNREPLIED]");
    if (protocol === undefined || !isEstablished || !/ mark=[1-9]/.test(rest)) continue;
    // The first source is the one of who opened the flow: only clients do.
    const address = parseAddress(/(?:^| )src=([0-9a-f.:]+)/.exec(rest)?.[1] ?? "");
    if (address === null) continue;
    const client = formatAddress(address);
    flows.set(client, (flows.get(client) ?? 0) + 1);
  }
  return flows;
}
