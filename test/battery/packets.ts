import { type Address, parseAddress } from "../../agent/policy/cidr.ts";

/** Whole IP packets, as they lie on the wire: what no socket of Node can send. */

export interface IpFields {
  readonly from: string;
  readonly to: string;
  /** Number of the protocol above IP. */
  readonly protocol: number;
  readonly payload: Buffer;
  /** IPv4 only: where this piece of a packet stands, in bytes (a multiple of 8), and whether more follow. */
  readonly fragment?: { readonly id: number; readonly offset: number; readonly more: boolean };
}

export const protocols = {
  icmp: 1,
  ipip: 4,
  tcp: 6,
  udp: 17,
  sixInFour: 41,
  gre: 47,
  esp: 50,
  icmpv6: 58,
  sctp: 132,
  experiment: 253,
} as const;

/** Returns an IP packet; the family is that of its addresses. */
export function ipPacket(fields: IpFields): Buffer {
  return fields.to.includes(":") ? ipv6Packet(fields) : ipv4Packet(fields);
}

function ipv4Packet({ from, to, protocol, payload, fragment }: IpFields): Buffer {
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header.writeUInt16BE(20 + payload.length, 2);
  header.writeUInt16BE(fragment?.id ?? 0, 4);
  header.writeUInt16BE((fragment?.more ? 0x2000 : 0) | ((fragment?.offset ?? 0) >> 3), 6);
  header[8] = 64;
  header[9] = protocol;
  addressBytes(from).copy(header, 12);
  addressBytes(to).copy(header, 16);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload]);
}

function ipv6Packet({ from, to, protocol, payload, fragment }: IpFields): Buffer {
  const extension = fragment === undefined ? Buffer.alloc(0) : fragmentHeader(protocol, fragment);
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(extension.length + payload.length, 4);
  header[6] = fragment === undefined ? protocol : 44;
  header[7] = 64;
  addressBytes(from).copy(header, 8);
  addressBytes(to).copy(header, 24);
  return Buffer.concat([header, extension, payload]);
}

function fragmentHeader(protocol: number, { id, offset, more }: NonNullable<IpFields["fragment"]>): Buffer {
  const header = Buffer.alloc(8);
  header[0] = protocol;
  header.writeUInt16BE(offset | (more ? 1 : 0), 2);
  header.writeUInt32BE(id, 4);
  return header;
}

export interface Ends {
  readonly from: string;
  readonly to: string;
  readonly fromPort: number;
  readonly toPort: number;
}

/** Returns a UDP datagram with its sum. */
export function udpDatagram({ from, to, fromPort, toPort }: Ends, data: Buffer): Buffer {
  const datagram = Buffer.concat([Buffer.alloc(8), data]);
  datagram.writeUInt16BE(fromPort, 0);
  datagram.writeUInt16BE(toPort, 2);
  datagram.writeUInt16BE(datagram.length, 4);
  datagram.writeUInt16BE(sumOver(from, to, protocols.udp, datagram) || 0xffff, 6);
  return datagram;
}

/** Returns a TCP segment without options or data. */
export function tcpSegment({ from, to, fromPort, toPort }: Ends, flags: number): Buffer {
  const segment = Buffer.alloc(20);
  segment.writeUInt16BE(fromPort, 0);
  segment.writeUInt16BE(toPort, 2);
  segment.writeUInt32BE(1, 4);
  segment[12] = 0x50;
  segment[13] = flags;
  segment.writeUInt16BE(64_000, 14);
  segment.writeUInt16BE(sumOver(from, to, protocols.tcp, segment), 16);
  return segment;
}

/** Returns an echo request of the address's family that carries some data. */
export function echoRequest(from: string, to: string, data: Buffer): Buffer {
  const isV6 = to.includes(":");
  const message = Buffer.concat([Buffer.from([isV6 ? 128 : 8, 0, 0, 0, 0, 7, 0, 1]), data]);
  message.writeUInt16BE(isV6 ? sumOver(from, to, protocols.icmpv6, message) : checksum(message), 2);
  return message;
}

/** Returns an SCTP packet with an INIT chunk and its sum (RFC 9260). */
export function sctpInit(fromPort: number, toPort: number): Buffer {
  const packet = Buffer.alloc(32);
  packet.writeUInt16BE(fromPort, 0);
  packet.writeUInt16BE(toPort, 2);
  packet[12] = 1;
  packet.writeUInt16BE(20, 14);
  packet.writeUInt32BE(1, 16);
  packet.writeUInt32BE(65_536, 20);
  packet.writeUInt16BE(1, 24);
  packet.writeUInt16BE(1, 26);
  packet.writeUInt32BE(1, 28);
  packet.writeUInt32LE(crc32c(packet), 8);
  return packet;
}

/** The 16-bit sum over data and the pseudo header of its family. */
function sumOver(from: string, to: string, protocol: number, data: Buffer): number {
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(data.length, 0);
  tail.writeUInt32BE(protocol, 4);
  return checksum(Buffer.concat([addressBytes(from), addressBytes(to), tail, data]));
}

function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function crc32c(bytes: Buffer): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

export function addressBytes(text: string): Buffer {
  const address: Address | null = parseAddress(text);
  if (address === null) throw new RangeError(`no address: ${text}`);
  const digits = address.family === 4 ? 8 : 32;
  return Buffer.from(address.value.toString(16).padStart(digits, "0"), "hex");
}
