import { runChecked } from "../../agent/host/run.ts";

/** Packets that reached the internet side through the gateway, by flow without its source port. */
export interface PacketCount {
  readonly from: string;
  readonly to: string;
  /** `tcp`, `udp`, `icmp`, `icmpv6` or a number. */
  readonly protocol: string;
  /** Destination port; 0 where the protocol has none. */
  readonly port: number;
  readonly packets: number;
  readonly bytes: number;
}

export interface PacketFilter {
  readonly from?: string;
  readonly to?: string;
  readonly protocol?: string;
  readonly port?: number;
}

export interface PacketTotal {
  readonly packets: number;
  /** IP bytes, headers included. */
  readonly bytes: number;
  readonly flows: readonly PacketCount[];
}

/** How the internet side treats packets to a blocked destination. */
export interface Block {
  readonly to: string;
  readonly protocol: "tcp" | "udp";
  readonly port: number;
  /** `reset` answers TCP with RST, `unreachable` with ICMP, `drop` not at all. */
  readonly how: "reset" | "unreachable" | "drop";
}

/**
 * Ruleset of the internet side: counts everything that comes in from the gateway, before routing, so that packets to
 * addresses nobody has are counted too; neighbour discovery is not. The chain `blocked` is filled on request.
 */
export const countersRuleset = `table inet lab {
  set ports4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags dynamic; size 262144; counter; }
  set ports6 { type ipv6_addr . ipv6_addr . inet_proto . inet_service; flags dynamic; size 262144; counter; }
  set other4 { type ipv4_addr . ipv4_addr . inet_proto; flags dynamic; size 65536; counter; }
  set other6 { type ipv6_addr . ipv6_addr . inet_proto; flags dynamic; size 65536; counter; }
  chain count {
    type filter hook prerouting priority raw; policy accept;
    iifname != "wan0" accept
    icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } accept
    meta nfproto ipv4 meta l4proto { tcp, udp } update @ports4 { ip saddr . ip daddr . meta l4proto . th dport counter } accept
    meta nfproto ipv6 meta l4proto { tcp, udp } update @ports6 { ip6 saddr . ip6 daddr . meta l4proto . th dport counter } accept
    meta nfproto ipv4 update @other4 { ip saddr . ip daddr . meta l4proto counter }
    meta nfproto ipv6 update @other6 { ip6 saddr . ip6 daddr . meta l4proto counter }
  }
  chain blocked {
    type filter hook input priority filter; policy accept;
  }
}
`;

const timeoutMs = 20_000;

type Element = { elem: { val: { concat: (string | number)[] }; counter: { packets: number; bytes: number } } };

/** Returns all counts since the lab began. @throws AgentError HOST_COMMAND */
export async function readCounters(nft: readonly [string, ...string[]]): Promise<readonly PacketCount[]> {
  const text = await runChecked([...nft, "-j", "list", "sets", "table", "inet", "lab"], {
    timeoutMs,
    maxOutputBytes: 256 * 1024 * 1024,
  });
  const parsed = JSON.parse(text) as { nftables: { set?: { elem?: Element[] } }[] };
  return parsed.nftables
    .flatMap((entry) => entry.set?.elem ?? [])
    .map(({ elem }) => {
      const [from, to, protocol, port] = elem.val.concat;
      return {
        from: String(from),
        to: String(to),
        protocol: protocol === "ipv6-icmp" ? "icmpv6" : String(protocol),
        port: Number(port ?? 0),
        packets: elem.counter.packets,
        bytes: elem.counter.bytes,
      };
    });
}

/** Returns what the later counts have more than the earlier ones, without flows that stood still. */
export function subtractCounters(
  later: readonly PacketCount[],
  earlier: readonly PacketCount[],
): readonly PacketCount[] {
  const before = new Map(earlier.map((count) => [keyOf(count), count]));
  return later
    .map((count) => {
      const old = before.get(keyOf(count));
      return { ...count, packets: count.packets - (old?.packets ?? 0), bytes: count.bytes - (old?.bytes ?? 0) };
    })
    .filter((count) => count.packets > 0);
}

/** Returns the sum over the flows that a filter selects; an empty filter selects all. */
export function sumCounters(counts: readonly PacketCount[], filter: PacketFilter): PacketTotal {
  const flows = counts.filter(
    (count) =>
      (filter.from === undefined || filter.from === count.from) &&
      (filter.to === undefined || filter.to === count.to) &&
      (filter.protocol === undefined || filter.protocol === count.protocol) &&
      (filter.port === undefined || filter.port === count.port),
  );
  return {
    packets: flows.reduce((sum, flow) => sum + flow.packets, 0),
    bytes: flows.reduce((sum, flow) => sum + flow.bytes, 0),
    flows,
  };
}

/** Replaces the list of blocked destinations. @throws AgentError HOST_COMMAND */
export async function writeBlocks(nft: readonly [string, ...string[]], blocks: readonly Block[]): Promise<void> {
  const verdicts = { reset: "reject with tcp reset", unreachable: "reject", drop: "drop" };
  const rules = blocks.map(({ to, protocol, port, how }) => {
    const family = to.includes(":") ? "ip6" : "ip";
    return `add rule inet lab blocked ${family} daddr ${to} ${protocol} dport ${port} ${verdicts[how]}`;
  });
  await runChecked([...nft, "-f", "-"], { timeoutMs, stdin: `flush chain inet lab blocked\n${rules.join("\n")}\n` });
}

function keyOf(count: PacketCount): string {
  return `${count.from} ${count.to} ${count.protocol} ${count.port}`;
}
