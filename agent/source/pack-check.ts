import { createHash } from "node:crypto";
import { inflateSync } from "node:zlib";
import { AgentError } from "../errors.ts";

export interface PackLimits {
  readonly maxObjects: number;
  /** Of one object, inflated and after its deltas. */
  readonly maxObjectBytes: number;
  /** Of all objects together, inflated and after their deltas. */
  readonly maxTotalBytes: number;
  /** Deltas on deltas; Git's own packs stay at 50, aggressive ones at 250. */
  readonly maxDeltaDepth: number;
  /** Sum over all objects of what must be built to read one alone: what the pack can make a reader do. */
  readonly maxWorkBytes: number;
}

export const defaultPackLimits: PackLimits = {
  maxObjects: 50_000,
  maxObjectBytes: 16 * 1024 * 1024,
  maxTotalBytes: 192 * 1024 * 1024,
  maxDeltaDepth: 256,
  maxWorkBytes: 2 * 1024 * 1024 * 1024,
};

interface Entry {
  /** After its deltas. */
  readonly bytes: number;
  readonly depth: number;
  /** Sum of `bytes` along the chain down to the whole object. */
  readonly work: number;
}

const HEADER_BYTES = 12;
const TRAILER_BYTES = 20;
const OFS_DELTA = 6;
const REF_DELTA = 7;

/**
 * Checks a pack from the wire before anything else reads it and returns its number of objects: header, SHA-1 trailer, and every
 * object's declared size against the limits *before* inflating it, against what it inflates to, and against what its
 * deltas build (gitformat-pack). Deltas point back into the same pack, because nothing else was asked for.
 * @throws AgentError SOURCE_PROTOCOL for a malformed pack, SOURCE_TOO_LARGE past a limit
 */
export function checkPack(pack: Buffer, limits: PackLimits): number {
  const count = checkFrame(pack, limits);
  const end = pack.length - TRAILER_BYTES;
  const entries = new Map<number, Entry>();
  let totalBytes = 0;
  let workBytes = 0;
  let at = HEADER_BYTES;
  for (let index = 0; index < count; index++) {
    const start = at;
    const { entry, next } = readEntry(pack, start, end, entries, limits);
    totalBytes += entry.bytes;
    workBytes += entry.work;
    if (totalBytes > limits.maxTotalBytes) throw tooLarge(`its objects have more than ${limits.maxTotalBytes} bytes`);
    if (workBytes > limits.maxWorkBytes) throw tooLarge("its chains of deltas are too costly to read");
    entries.set(start, entry);
    at = next;
  }
  if (at !== end) throw malformed("bytes between the last object and the trailer");
  return count;
}

function checkFrame(pack: Buffer, limits: PackLimits): number {
  if (pack.length < HEADER_BYTES + TRAILER_BYTES) throw malformed("it is shorter than a header and a trailer");
  if (pack.toString("latin1", 0, 4) !== "PACK" || pack.readUInt32BE(4) !== 2) throw malformed("no header of version 2");
  const end = pack.length - TRAILER_BYTES;
  const digest = createHash("sha1").update(pack.subarray(0, end)).digest();
  if (!digest.equals(pack.subarray(end))) throw malformed("its checksum does not match its bytes");
  const count = pack.readUInt32BE(8);
  if (count > limits.maxObjects) throw tooLarge(`it has ${count} objects; at most ${limits.maxObjects} are read`);
  return count;
}

function readEntry(
  pack: Buffer,
  start: number,
  end: number,
  entries: ReadonlyMap<number, Entry>,
  limits: PackLimits,
): { entry: Entry; next: number } {
  const header = readObjectHeader(pack, start, end);
  if (header.bytes > limits.maxObjectBytes) {
    throw tooLarge(`an object has ${header.bytes} bytes; at most ${limits.maxObjectBytes} are read`);
  }
  if (header.type >= 1 && header.type <= 4) {
    const { next } = inflate(pack, header.next, end, header.bytes);
    return { entry: { bytes: header.bytes, depth: 0, work: header.bytes }, next };
  }
  if (header.type === REF_DELTA) throw malformed("a delta by object name, which was not asked for (a thin pack?)");
  if (header.type !== OFS_DELTA) throw malformed(`an object of the unknown type ${header.type}`);
  const distance = readDistance(pack, header.next, end);
  const base = entries.get(start - distance.value);
  if (base === undefined) throw malformed("a delta without its base");
  if (base.depth + 1 > limits.maxDeltaDepth) throw tooLarge(`a chain of more than ${limits.maxDeltaDepth} deltas`);
  const { data, next } = inflate(pack, distance.next, end, header.bytes);
  const baseBytes = readVarint(data, 0);
  const resultBytes = readVarint(data, baseBytes.next);
  if (baseBytes.value !== base.bytes) throw malformed("a delta for a base of another size");
  if (resultBytes.value > limits.maxObjectBytes) {
    throw tooLarge(`a delta builds ${resultBytes.value} bytes; at most ${limits.maxObjectBytes} are read`);
  }
  const work = base.work + resultBytes.value + header.bytes;
  return { entry: { bytes: resultBytes.value, depth: base.depth + 1, work }, next };
}

/** Type in bits 4–6 of the first byte; size: its low 4 bits, then 7 bits a byte, least first. */
function readObjectHeader(pack: Buffer, start: number, end: number): { type: number; bytes: number; next: number } {
  let at = start;
  let byte = byteAt(pack, at++, end);
  const type = (byte >> 4) & 7;
  let bytes = byte & 15;
  let factor = 16;
  while (byte >= 128) {
    if (factor > 2 ** 46) throw malformed("an object with an absurd size");
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
    if (value > 2 ** 40) throw malformed("a delta with an absurd distance");
    byte = byteAt(pack, at++, end);
    value = (value + 1) * 128 + (byte & 127);
  }
  return { value, next: at };
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
    if (factor > 2 ** 46) throw malformed("a delta with an absurd size");
  }
}

/** Inflates at most the declared number of bytes: whatever lies behind them is never made. */
function inflate(pack: Buffer, start: number, end: number, bytes: number): { data: Buffer; next: number } {
  try {
    // zlib sees a window that grows only when the object does: most are tiny, and its whole output is at most `bytes`.
    const result = inflateSync(pack.subarray(start, end), {
      info: true,
      maxOutputLength: Math.max(1, bytes),
      chunkSize: Math.min(65_536, Math.max(64, bytes + 1)),
    }) as unknown as { buffer: Buffer; engine: { bytesWritten: number } };
    if (result.buffer.length !== bytes) throw malformed("an object with fewer bytes than it declares");
    return { data: result.buffer, next: start + result.engine.bytesWritten };
  } catch (error) {
    if (error instanceof AgentError) throw error;
    const isLonger = (error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE";
    throw malformed(isLonger ? "an object with more bytes than it declares" : "an object that does not inflate");
  }
}

function byteAt(bytes: Buffer, at: number, end: number): number {
  const byte = at < end ? bytes[at] : undefined;
  if (byte === undefined) throw malformed("it ends within an object");
  return byte;
}

function malformed(why: string): AgentError {
  return new AgentError("SOURCE_PROTOCOL", `the pack is malformed: ${why}`);
}

function tooLarge(why: string): AgentError {
  return new AgentError("SOURCE_TOO_LARGE", `the pack is refused: ${why}`, {
    remedy: "keep large files and long histories out of the policy repository",
  });
}
