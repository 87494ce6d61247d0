import { createHash } from "node:crypto";
import { AgentError } from "../errors.ts";
import { createTurns } from "../host/clock.ts";
import type { ObjectType } from "./commit-reader.ts";
import { applyDelta, inflateEntry, malformedPack, readDeltaSizes, readEntryFront } from "./pack-entry.ts";

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
  maxObjects: 75_000,
  maxObjectBytes: 16 * 1024 * 1024,
  maxTotalBytes: 192 * 1024 * 1024,
  maxDeltaDepth: 256,
  maxWorkBytes: 1024 * 1024 * 1024,
};

/** Where an object lies in its pack, and what it is built on. */
export interface PackedObject {
  readonly type: ObjectType | "tag";
  readonly start: number;
  /** Behind its last byte. */
  readonly end: number;
  readonly base: PackedObject | null;
  /** After its deltas. */
  readonly bytes: number;
  readonly depth: number;
  /** Sum of `bytes` along the chain down to the whole object. */
  readonly work: number;
}

export interface PackIndex {
  /** Object name → object. */
  readonly objects: ReadonlyMap<string, PackedObject>;
  /** Commit → its parents, in their order. */
  readonly parents: ReadonlyMap<string, readonly string[]>;
}

const HEADER_BYTES = 12;
const TRAILER_BYTES = 20;
/** Contents that later deltas may build on. */
const MAX_KEPT_BYTES = 16 * 1024 * 1024;

/**
 * Returns what is in a pack: every object by the name that its content hashes to, computed here. Checked on the way: header,
 * SHA-1 trailer, and every object's declared size against the limits *before* inflating it, against what it inflates to, and
 * against what its deltas build (gitformat-pack). Deltas point back into the same pack, because nothing else was asked for.
 * Memory: the names, and at most 16 MiB of contents. Gives way to other work now and then.
 * @throws AgentError SOURCE_PROTOCOL for a malformed pack, SOURCE_TOO_LARGE past a limit
 */
export async function indexPack(pack: Buffer, limits: PackLimits): Promise<PackIndex> {
  const count = checkFrame(pack, limits);
  const end = pack.length - TRAILER_BYTES;
  const byStart = new Map<number, PackedObject>();
  const objects = new Map<string, PackedObject>();
  const parents = new Map<string, readonly string[]>();
  const kept = createKept();
  const giveWay = createTurns();
  let totalBytes = 0;
  let workBytes = 0;
  let at = HEADER_BYTES;
  for (let index = 0; index < count; index++) {
    const { entry, data } = readEntry(pack, at, end, byStart, limits);
    totalBytes += entry.bytes;
    workBytes += entry.work;
    if (totalBytes > limits.maxTotalBytes) throw tooLarge(`its objects have more than ${limits.maxTotalBytes} bytes`);
    if (workBytes > limits.maxWorkBytes) throw tooLarge("its chains of deltas are too costly to read");
    const content = entry.base === null ? data : applyDelta(build(pack, entry.base, kept), data);
    kept.put(entry.start, content);
    const oid = nameOf(entry.type, content);
    if (entry.type === "commit") parents.set(oid, parentsOf(content));
    byStart.set(entry.start, entry);
    objects.set(oid, entry);
    at = entry.end;
    await giveWay();
  }
  if (at !== end) throw malformedPack("bytes between the last object and the trailer");
  return { objects, parents };
}

/** Returns the content of an object, given the bytes of it and of everything that it is built on. @throws AgentError SOURCE_PROTOCOL */
export function buildObject(object: PackedObject, bytesOf: (object: PackedObject) => Buffer): Buffer {
  const chain: PackedObject[] = [];
  for (let link: PackedObject | null = object; link !== null; link = link.base) chain.push(link);
  return chain.reduceRight<Buffer>((base, link) => {
    const data = inflateWhole(bytesOf(link));
    return link.base === null ? data : applyDelta(base, data);
  }, Buffer.alloc(0));
}

/** Returns the name of an object. */
export function nameOf(type: string, content: Buffer): string {
  return createHash("sha1").update(`${type} ${content.length}\0`).update(content).digest("hex");
}

function inflateWhole(bytes: Buffer): Buffer {
  const front = readEntryFront(bytes, 0, bytes.length);
  return inflateEntry(bytes, front.dataStart, bytes.length, front.bytes).data;
}

function checkFrame(pack: Buffer, limits: PackLimits): number {
  if (pack.length < HEADER_BYTES + TRAILER_BYTES) throw malformedPack("it is shorter than a header and a trailer");
  if (pack.toString("latin1", 0, 4) !== "PACK" || pack.readUInt32BE(4) !== 2) {
    throw malformedPack("no header of version 2");
  }
  const end = pack.length - TRAILER_BYTES;
  const digest = createHash("sha1").update(pack.subarray(0, end)).digest();
  if (!digest.equals(pack.subarray(end))) throw malformedPack("its checksum does not match its bytes");
  const count = pack.readUInt32BE(8);
  if (count > limits.maxObjects) throw tooLarge(`it has ${count} objects; at most ${limits.maxObjects} are read`);
  return count;
}

function readEntry(
  pack: Buffer,
  start: number,
  end: number,
  byStart: ReadonlyMap<number, PackedObject>,
  limits: PackLimits,
): { entry: PackedObject; data: Buffer } {
  const front = readEntryFront(pack, start, end);
  if (front.bytes > limits.maxObjectBytes) {
    throw tooLarge(`an object has ${front.bytes} bytes; at most ${limits.maxObjectBytes} are read`);
  }
  const { data, next } = inflateEntry(pack, front.dataStart, end, front.bytes);
  const place = { start, end: next };
  if (front.type !== null) {
    const { type, bytes } = front;
    return { entry: { ...place, type, base: null, bytes, depth: 0, work: bytes }, data };
  }
  const base = byStart.get(front.baseStart ?? -1);
  if (base === undefined) throw malformedPack("a delta without its base");
  if (base.depth + 1 > limits.maxDeltaDepth) throw tooLarge(`a chain of more than ${limits.maxDeltaDepth} deltas`);
  const { baseBytes, resultBytes } = readDeltaSizes(data);
  if (baseBytes !== base.bytes) throw malformedPack("a delta for a base of another size");
  if (resultBytes > limits.maxObjectBytes) {
    throw tooLarge(`a delta builds ${resultBytes} bytes; at most ${limits.maxObjectBytes} are read`);
  }
  const work = base.work + resultBytes + front.bytes;
  return { entry: { ...place, type: base.type, base, bytes: resultBytes, depth: base.depth + 1, work }, data };
}

interface Kept {
  get(start: number): Buffer | undefined;
  put(start: number, content: Buffer): void;
}

/** The newest contents, by where they start. */
function createKept(): Kept {
  const contents = new Map<number, Buffer>();
  let keptBytes = 0;
  return {
    get: (start) => contents.get(start),
    put: (start, content) => {
      contents.set(start, content);
      keptBytes += content.length;
      for (const [oldest, { length }] of contents) {
        if (keptBytes <= MAX_KEPT_BYTES) break;
        contents.delete(oldest);
        keptBytes -= length;
      }
    },
  };
}

function build(pack: Buffer, entry: PackedObject, kept: Kept): Buffer {
  return kept.get(entry.start) ?? buildObject(entry, ({ start, end }) => pack.subarray(start, end));
}

/**
 * Returns the parents of a commit as Git's own reader takes them: the lines behind the first. Read leniently, because old
 * commits by odd programs are part of honest histories; the head itself is read strictly before anything is believed.
 */
function parentsOf(content: Buffer): readonly string[] {
  const parents: string[] = [];
  // `tree ` and a name with its newline.
  for (let at = 46; content.toString("latin1", at, at + 7) === "parent "; at += 48) {
    const oid = content.toString("latin1", at + 7, at + 47);
    if (!/^[0-9a-f]{40}$/.test(oid)) break;
    parents.push(oid);
  }
  return parents;
}

function tooLarge(why: string): AgentError {
  return new AgentError("SOURCE_TOO_LARGE", `the pack is refused: ${why}`, {
    remedy: "keep large files and long histories out of the policy repository",
  });
}
