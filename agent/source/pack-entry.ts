import { inflateSync } from "node:zlib";
import { AgentError } from "../errors.ts";
import type { ObjectType } from "./commit-reader.ts";

/** The front of one object in a pack, before anything of it is inflated (gitformat-pack). */
export interface EntryFront {
  /** Null for a delta, which has the type of what it builds on. */
  readonly type: ObjectType | "tag" | null;
  /** Size of what follows, inflated: of the object, or of the delta. */
  readonly bytes: number;
  /** Where a delta's base starts; null for a whole object. */
  readonly baseStart: number | null;
  /** Where the compressed data starts. */
  readonly dataStart: number;
}

const types = [null, "commit", "tree", "blob", "tag"] as const;
const OFS_DELTA = 6;
const REF_DELTA = 7;

/** Returns the front of the object that starts at `start`; it must be over before `end`. @throws AgentError SOURCE_PROTOCOL */
export function readEntryFront(pack: Buffer, start: number, end: number): EntryFront {
  const { type, bytes, next } = readObjectHeader(pack, start, end);
  const whole = types[type];
  if (whole !== undefined && whole !== null) return { type: whole, bytes, baseStart: null, dataStart: next };
  if (type === REF_DELTA) throw malformedPack("a delta by object name, which was not asked for (a thin pack?)");
  if (type !== OFS_DELTA) throw malformedPack(`an object of the unknown type ${type}`);
  const distance = readDistance(pack, next, end);
  return { type: null, bytes, baseStart: start - distance.value, dataStart: distance.next };
}

/** Type in bits 4–6 of the first byte; size: its low 4 bits, then 7 bits a byte, least first. */
function readObjectHeader(pack: Buffer, start: number, end: number): { type: number; bytes: number; next: number } {
  let at = start;
  let byte = byteAt(pack, at++, end);
  const type = (byte >> 4) & 7;
  let bytes = byte & 15;
  let factor = 16;
  while (byte >= 128) {
    if (factor > 2 ** 46) throw malformedPack("an object with an absurd size");
    byte = byteAt(pack, at++, end);
    bytes += (byte & 127) * factor;
    factor *= 128;
  }
  return { type, bytes, next: at };
}

/** How far back the base starts: 7 bits a byte, most first, each further byte adding one to what came before. */
function readDistance(pack: Buffer, start: number, end: number): { value: number; next: number } {
  let at = start;
  let byte = byteAt(pack, at++, end);
  let value = byte & 127;
  while (byte >= 128) {
    if (value > 2 ** 40) throw malformedPack("a delta with an absurd distance");
    byte = byteAt(pack, at++, end);
    value = (value + 1) * 128 + (byte & 127);
  }
  return { value, next: at };
}

/** What declares more is put together from pieces, so that a declaration alone takes no memory to speak of. */
const MAX_PIECE_BYTES = 16 * 1024 * 1024;

/** Inflates exactly the declared number of bytes: whatever lies behind them is never made. @throws AgentError SOURCE_PROTOCOL */
export function inflateEntry(pack: Buffer, start: number, end: number, bytes: number): { data: Buffer; next: number } {
  try {
    // Most objects are tiny, and the output is at most `bytes`: room for one byte more, and it comes in one piece.
    const result = inflateSync(pack.subarray(start, end), {
      info: true,
      maxOutputLength: Math.max(1, bytes),
      chunkSize: Math.min(MAX_PIECE_BYTES, Math.max(64, bytes + 1)),
    }) as unknown as { buffer: Buffer; engine: { bytesWritten: number } };
    if (result.buffer.length !== bytes) throw malformedPack("an object with fewer bytes than it declares");
    return { data: result.buffer, next: start + result.engine.bytesWritten };
  } catch (error) {
    if (error instanceof AgentError) throw error;
    const isLonger = (error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE";
    throw malformedPack(isLonger ? "an object with more bytes than it declares" : "an object that does not inflate");
  }
}

/** Returns the sizes at the front of a delta: of its base, and of what it builds. @throws AgentError SOURCE_PROTOCOL */
export function readDeltaSizes(delta: Buffer): { baseBytes: number; resultBytes: number; next: number } {
  const base = readVarint(delta, 0);
  const result = readVarint(delta, base.next);
  return { baseBytes: base.value, resultBytes: result.value, next: result.next };
}

function readVarint(data: Buffer, start: number): { value: number; next: number } {
  let at = start;
  let value = 0;
  let factor = 1;
  for (;;) {
    const byte = byteAt(data, at++, data.length);
    value += (byte & 127) * factor;
    if (byte < 128) return { value, next: at };
    factor *= 128;
    if (factor > 2 ** 46) throw malformedPack("a delta with an absurd size");
  }
}

/** Returns what a delta builds from its base: copies out of it and bytes of its own, exactly as many as it says. @throws AgentError SOURCE_PROTOCOL */
export function applyDelta(base: Buffer, delta: Buffer): Buffer {
  const { baseBytes, resultBytes, next } = readDeltaSizes(delta);
  if (baseBytes !== base.length) throw malformedPack("a delta for a base of another size");
  const result = Buffer.alloc(resultBytes);
  let written = 0;
  let at = next;
  const put = (source: Buffer, from: number, count: number): void => {
    if (from + count > source.length || written + count > resultBytes) {
      throw malformedPack("a delta that reaches beyond its base or its result");
    }
    source.copy(result, written, from, from + count);
    written += count;
  };
  while (at < delta.length) {
    const op = byteAt(delta, at++, delta.length);
    if (op === 0) throw malformedPack("a delta with an unknown instruction");
    if (op < 128) {
      put(delta, at, op);
      at += op;
      continue;
    }
    // Bits 0–3 say which bytes of the offset follow, bits 4–6 which of the size; a size of 0 means 65,536.
    let from = 0;
    let count = 0;
    for (let bit = 0; bit < 4; bit++) if (op & (1 << bit)) from += byteAt(delta, at++, delta.length) * 256 ** bit;
    for (let bit = 0; bit < 3; bit++) if (op & (16 << bit)) count += byteAt(delta, at++, delta.length) * 256 ** bit;
    put(base, from, count === 0 ? 65_536 : count);
  }
  if (written !== resultBytes) throw malformedPack("a delta that builds less than it says");
  return result;
}

function byteAt(bytes: Buffer, at: number, end: number): number {
  const byte = at < end ? bytes[at] : undefined;
  if (byte === undefined) throw malformedPack("it ends within an object");
  return byte;
}

/** Returns the error for a pack that is not what a Git server sends. */
export function malformedPack(why: string): AgentError {
  return new AgentError("SOURCE_PROTOCOL", `the pack is malformed: ${why}`);
}
