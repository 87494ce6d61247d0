import { OVER_CAP } from "../compile/marks.ts";
import { type PacketOrigin, packetOrigins } from "../compile/nft-refuse.ts";
import { formatAddress, parseAddress } from "../policy/cidr.ts";

/** A packet that the kernel refused, as far as it tells. */
export interface RefusedPacket {
  readonly origin: PacketOrigin;
  /** A byte cap has no room for it. */
  readonly isOverCap: boolean;
  /** Addresses in canonical text. */
  readonly source: string;
  readonly destination: string;
  /** Null for protocols without ports, and for fragments. */
  readonly sourcePort: number | null;
  readonly destinationPort: number | null;
  /** `tcp`, `udp`, `icmp`, `icmpv6`, or the number that IANA gave it. */
  readonly protocol: string;
  /** Null where there is none: a packet to the gateway itself goes out nowhere. */
  readonly inInterface: string | null;
  readonly outInterface: string | null;
}

const protocolNames: { readonly [number: number]: string } = { 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6" };

/**
 * Returns the packet of a line of ulogd's JSON output, or null for a line that is none of ours. The text was made from a
 * packet that somebody sent: every field is judged.
 */
export function parsePacketLine(line: string): RefusedPacket | null {
  const fields = parseObject(line);
  if (fields === null) return null;
  const prefix = /^clawgress:([a-z]+) ?$/.exec(textOf(fields, "oob.prefix") ?? "")?.[1];
  const origin = packetOrigins.find((name) => name === prefix);
  const source = addressOf(fields, "src_ip");
  const destination = addressOf(fields, "dest_ip");
  if (origin === undefined || source === null || destination === null) return null;
  const number = numberOf(fields, "ip.protocol", 255) ?? numberOf(fields, "ip6.nexthdr", 255);
  return {
    origin,
    isOverCap: numberOf(fields, "oob.mark", 0xffff_ffff) === OVER_CAP,
    source,
    destination,
    sourcePort: numberOf(fields, "src_port", 65_535),
    destinationPort: numberOf(fields, "dest_port", 65_535),
    protocol: number === null ? "unknown" : (protocolNames[number] ?? String(number)),
    inInterface: interfaceOf(fields, "oob.in"),
    outInterface: interfaceOf(fields, "oob.out"),
  };
}

type Fields = { readonly [key: string]: unknown };

function parseObject(line: string): Fields | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Fields) : null;
  } catch {
    return null;
  }
}

function textOf(fields: Fields, key: string): string | null {
  const value = fields[key];
  return typeof value === "string" ? value : null;
}

function numberOf(fields: Fields, key: string, max: number): number | null {
  const value = fields[key];
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= max ? value : null;
}

function addressOf(fields: Fields, key: string): string | null {
  const address = parseAddress(textOf(fields, key) ?? "");
  return address === null ? null : formatAddress(address);
}

function interfaceOf(fields: Fields, key: string): string | null {
  const name = textOf(fields, key);
  return name !== null && /^[!-~]{1,15}$/.test(name) ? name : null;
}
