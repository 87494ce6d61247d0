import { AgentError } from "../errors.ts";
import { plainText } from "../plain-text.ts";

/** One packet of Git's framing: a length in four hex digits, then that many bytes less four; lengths 0–2 are marks. */
export type Packet =
  | { readonly kind: "data"; readonly data: Buffer }
  | { readonly kind: "flush" | "delimiter" | "response-end" };

export const FLUSH = "0000";
export const DELIMITER = "0001";
/** The longest packet with its length, as Git's own implementations send (gitprotocol-common). */
const MAX_PACKET_BYTES = 65_520;
const marks = ["flush", "delimiter", "response-end"] as const;

/** Returns a packet as bytes. */
export function encodePacket(data: string | Buffer): Buffer {
  const bytes = typeof data === "string" ? Buffer.from(data, "utf8") : data;
  return Buffer.concat([Buffer.from((bytes.length + 4).toString(16).padStart(4, "0"), "latin1"), bytes]);
}

export interface PacketReader {
  /** Returns the packets that are complete with these bytes; holds back at most one incomplete packet. @throws AgentError SOURCE_PROTOCOL */
  push(chunk: Buffer): readonly Packet[];
  /** Whether every byte so far belonged to a complete packet. */
  isBetweenPackets(): boolean;
}

/** Returns a reader of packets from a stream of bytes that is cut anywhere; the work is linear in the bytes however small the cuts are. */
export function createPacketReader(): PacketReader {
  // The beginning of a packet that is not complete yet.
  const held = Buffer.alloc(MAX_PACKET_BYTES);
  let heldBytes = 0;
  /** Moves bytes behind what is held until `wanted` are there; returns how many were taken. */
  const hold = (chunk: Buffer, at: number, wanted: number): number => {
    const taken = Math.max(0, Math.min(wanted - heldBytes, chunk.length - at));
    chunk.copy(held, heldBytes, at, at + taken);
    heldBytes += taken;
    return taken;
  };
  return {
    push: (chunk) => {
      const packets: Packet[] = [];
      let at = 0;
      while (at < chunk.length) {
        at += hold(chunk, at, 4);
        if (heldBytes < 4) break;
        const length = packetLength(held);
        const mark = marks[length];
        if (mark === undefined) {
          at += hold(chunk, at, length);
          if (heldBytes < length) break;
          packets.push({ kind: "data", data: Buffer.from(held.subarray(4, length)) });
        } else packets.push({ kind: mark });
        heldBytes = 0;
      }
      return packets;
    },
    isBetweenPackets: () => heldBytes === 0,
  };
}

/** Returns all packets of complete bytes. @throws AgentError SOURCE_PROTOCOL when the last one is cut off. */
export function parsePackets(bytes: Buffer): readonly Packet[] {
  const reader = createPacketReader();
  const packets = reader.push(bytes);
  if (!reader.isBetweenPackets()) throw new AgentError("SOURCE_PROTOCOL", "the answer ends within a packet");
  return packets;
}

/** @throws AgentError SOURCE_PROTOCOL when the packet is the server's `ERR` line; its text is shown as plain text. */
export function refuseErrorPacket(data: Buffer): void {
  if (data.subarray(0, 4).toString("latin1") !== "ERR ") return;
  throw new AgentError("SOURCE_PROTOCOL", `the Git server says: ${serverText(data.subarray(4))}`);
}

/** Returns text of the server as one short printable line. */
export function serverText(bytes: Buffer): string {
  return plainText(bytes.subarray(0, 1024).toString("utf8"), 160);
}

function packetLength(bytes: Buffer): number {
  const digits = bytes.toString("latin1", 0, 4);
  const length = /^[0-9a-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : Number.NaN;
  if (length >= 4 ? length <= MAX_PACKET_BYTES : length <= 2) return length;
  throw new AgentError("SOURCE_PROTOCOL", `the answer is not Git's packet framing (length '${plainText(digits, 4)}')`);
}
