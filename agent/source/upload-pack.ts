import { AgentError } from "../errors.ts";
import { createPacketReader, type Packet, refuseErrorPacket, serverText } from "./pkt-line.ts";

/** A complete answer to a protocol-v0 fetch: the lines before the pack, and the pack. */
export interface UploadPackAnswer {
  /** `shallow <id>` and `unshallow <id>`, in the order of arrival. */
  readonly shallowLines: readonly string[];
  /** Whether the server has one of the commits that the request said are there already. */
  readonly isCommon: boolean;
  readonly pack: Buffer;
}

export interface UploadPackReader {
  /** @throws AgentError SOURCE_PROTOCOL, SOURCE_TOO_LARGE */
  push(chunk: Buffer): void;
  /** Returns the answer once all bytes are there. @throws AgentError SOURCE_PROTOCOL when it is cut off. */
  finish(): UploadPackAnswer;
}

const ACK = /^ACK [0-9a-f]{40}\n?$/;
const BAND_DATA = 1;
const BAND_PROGRESS = 2;
const BAND_ERROR = 3;
/** A client asks for one commit at depth 1, so that honest answers have a handful of these. */
const MAX_SHALLOW_LINES = 10_000;

/**
 * Returns a strict reader of the answer to a fetch: shallow lines and their flush, ACK or NAK, then the pack in
 * side-band packets up to a flush that is the last byte (gitprotocol-pack, "Packfile Data"). Memory: the pack itself.
 * @param onNak called when the server has none of the commits that are there already; may throw to end it there
 */
export function createUploadPackReader(maxPackBytes: number, onNak: () => void = () => {}): UploadPackReader {
  const packets = createPacketReader();
  const shallowLines: string[] = [];
  // One buffer that grows: a server may cut the pack into single bytes, and an object for each would cost a hundredfold.
  let pack: Buffer = Buffer.alloc(0);
  let packBytes = 0;
  let stage: "lines" | "pack" | "done" = "lines";
  let isCommon = false;

  const readLine = (packet: Packet): void => {
    if (packet.kind === "flush" && shallowLines.length > 0) return;
    if (packet.kind !== "data") throw protocol(`a ${packet.kind} packet before the pack`);
    refuseErrorPacket(packet.data);
    const line = packet.data.subarray(0, 100).toString("latin1").replace(/\n$/, "");
    if (/^(un)?shallow [0-9a-f]{40}$/.test(line)) {
      if (shallowLines.push(line) > MAX_SHALLOW_LINES) throw protocol("too many shallow lines");
    } else if (line === "NAK" || ACK.test(line)) {
      stage = "pack";
      isCommon = line !== "NAK";
      if (!isCommon) onNak();
    } else throw protocol(`an unknown line before the pack: ${serverText(packet.data)}`);
  };
  const readBand = (packet: Packet): void => {
    if (packet.kind === "flush") {
      stage = "done";
      return;
    }
    if (packet.kind !== "data") throw protocol(`a ${packet.kind} packet within the pack`);
    const band = packet.data[0];
    if (band === BAND_ERROR) throw protocol(`the server gave up: ${serverText(packet.data.subarray(1))}`);
    if (band === BAND_PROGRESS) return;
    // A server repeats the ACK for a commit that is behind the first one.
    if (isCommon && packBytes === 0 && ACK.test(packet.data.toString("latin1", 0, 50))) return;
    if (band !== BAND_DATA) {
      refuseErrorPacket(packet.data);
      throw protocol("a packet of no side band within the pack");
    }
    const neededBytes = packBytes + packet.data.length - 1;
    if (neededBytes > maxPackBytes) {
      throw new AgentError("SOURCE_TOO_LARGE", `the pack has more than ${maxPackBytes} bytes`, {
        remedy: "keep large files out of the policy repository, or raise repository.maxPackBytes",
      });
    }
    if (neededBytes > pack.length) {
      const larger = Buffer.alloc(Math.min(maxPackBytes, Math.max(65_536, 2 * pack.length, neededBytes)));
      pack.copy(larger, 0, 0, packBytes);
      pack = larger;
    }
    packet.data.copy(pack, packBytes, 1);
    packBytes = neededBytes;
  };

  return {
    push: (chunk) => {
      for (const packet of packets.push(chunk)) {
        if (stage === "lines") readLine(packet);
        else if (stage === "pack") readBand(packet);
        else throw protocol("bytes after its end");
      }
    },
    finish: () => {
      if (stage !== "done" || !packets.isBetweenPackets()) throw protocol("it is cut off");
      return { shallowLines, isCommon, pack: pack.subarray(0, packBytes) };
    },
  };
}

function protocol(why: string): AgentError {
  return new AgentError("SOURCE_PROTOCOL", `the answer to the fetch is malformed: ${why}`);
}
