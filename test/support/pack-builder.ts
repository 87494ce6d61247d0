import { createHash } from "node:crypto";
import { deflateSync } from "node:zlib";

export const PACK_TYPES = { commit: 1, tree: 2, blob: 3, tag: 4, ofsDelta: 6, refDelta: 7 } as const;

export interface PackEntry {
  readonly type: number;
  readonly data: Buffer;
  /** What the header says; the true size unless a test lies. */
  readonly declaredBytes?: number;
  /** Index of the base among the entries before, for offset deltas. */
  readonly base?: number;
  /** Put in the place of the compressed data. */
  readonly compressed?: Buffer;
}

/** Returns a pack (version 2) of entries, with a right trailer, however wrong the entries are. */
export function buildPack(entries: readonly PackEntry[], declaredCount = entries.length): Buffer {
  const header = Buffer.alloc(12);
  header.write("PACK", 0, "latin1");
  header.writeUInt32BE(2, 4);
  header.writeUInt32BE(declaredCount, 8);
  const parts: Buffer[] = [header];
  const offsets: number[] = [];
  let at = 12;
  for (const { type, data, declaredBytes, base, compressed } of entries) {
    const distance = base === undefined ? Buffer.alloc(0) : distanceBytes(at - (offsets[base] ?? at + 1));
    const part = Buffer.concat([
      headerBytes(type, declaredBytes ?? data.length),
      type === PACK_TYPES.refDelta ? Buffer.alloc(20, 7) : distance,
      compressed ?? deflateSync(data),
    ]);
    offsets.push(at);
    parts.push(part);
    at += part.length;
  }
  return withTrailer(Buffer.concat(parts));
}

/** Returns bytes with their SHA-1 behind them. */
export function withTrailer(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, createHash("sha1").update(bytes).digest()]);
}

/** Returns a delta that copies the whole base `times` times (a base of at most 64 KiB). */
export function copyDelta(baseBytes: number, resultBytes: number, times = 1): Buffer {
  const copy = Buffer.of(0x80 | 0x10 | 0x20, baseBytes & 255, (baseBytes >> 8) & 255);
  return Buffer.concat([varint(baseBytes), varint(resultBytes), ...Array.from({ length: times }, () => copy)]);
}

/** Returns the framing of an answer to a first fetch at depth 1. */
export function frameShallowAnswer(commit: string, pack: Buffer): Buffer {
  const parts: Buffer[] = [`0035shallow ${commit}\n`, "0000", "0008NAK\n"].map((part) => Buffer.from(part));
  for (let at = 0; at < pack.length; at += 65_515) {
    const data = pack.subarray(at, at + 65_515);
    parts.push(Buffer.from((data.length + 5).toString(16).padStart(4, "0")), Buffer.of(1), data);
  }
  return Buffer.concat([...parts, Buffer.from("0000")]);
}

function headerBytes(type: number, bytes: number): Buffer {
  const out: number[] = [];
  let rest = Math.floor(bytes / 16);
  let byte = (type << 4) | (bytes % 16);
  while (rest > 0) {
    out.push(byte | 128);
    byte = rest % 128;
    rest = Math.floor(rest / 128);
  }
  return Buffer.from([...out, byte]);
}

function varint(value: number): Buffer {
  const out: number[] = [];
  let rest = value;
  for (;;) {
    const byte = rest % 128;
    rest = Math.floor(rest / 128);
    if (rest === 0) return Buffer.from([...out, byte]);
    out.push(byte | 128);
  }
}

function distanceBytes(distance: number): Buffer {
  const out: number[] = [distance & 127];
  let rest = distance >>> 7;
  while (rest > 0) {
    rest -= 1;
    out.unshift(128 | (rest & 127));
    rest >>>= 7;
  }
  return Buffer.from(out);
}
