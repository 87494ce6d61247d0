import type { Place } from "../policy/policy.ts";
import { SHARDS } from "./shards.ts";

/*
 * Where the rules of the long lists are written: a first line with the length of each shard's part, as JSON, then the parts. A
 * part is a line with the lists that its rules stand in, as JSON, then for each rule, in the order in which the shard has them,
 * four numbers of 32 bits, the lowest byte first: line, column, the number of the list, the index there. Names are not said
 * again, so that 100,000 places, which all move with a new line above them, are 1.6 MB in one file.
 */

const RECORD_BYTES = 16;
/** What the place of an entry that is in no list has for an index. */
const NO_INDEX = 0xffff_ffff;

interface Placed {
  readonly place: Place;
}

/** A long list, and the shard of each of its rules. */
interface ShardedList {
  readonly rules: readonly Placed[];
  readonly shards: Uint8Array;
}

/** The part of a shard: its first line, and its records. */
export type PlacesPart = readonly [head: Buffer, records: Buffer];

/** Returns the bytes of the file that has the parts of all shards. */
export function joinPlaces(parts: readonly PlacesPart[]): Buffer {
  const lengths = parts.map(([head, records]) => head.length + records.length);
  return Buffer.concat([Buffer.from(`${JSON.stringify(lengths)}\n`), ...parts.flat()]);
}

/** Returns the part of a shard with these rules. */
export function renderPlaces(rules: readonly Placed[]): PlacesPart {
  const part = createPart(rules.length);
  for (let at = 0; at < rules.length; at++) part.write((rules[at] as Placed).place);
  return part.finish();
}

/**
 * Returns the parts of all shards. It goes through the lists once: rules lie in memory as they do there, and looking
 * 100,000 up shard by shard goes back and forth in it.
 */
export function renderAllPlaces(lists: readonly ShardedList[]): readonly PlacesPart[] {
  const counts = SHARDS.map(() => 0);
  for (const { shards } of lists) {
    for (let at = 0; at < shards.length; at++) {
      const shard = shards[at] as number;
      counts[shard] = (counts[shard] ?? 0) + 1;
    }
  }
  const parts = counts.map(createPart);
  for (const { rules, shards } of lists) {
    for (let at = 0; at < rules.length; at++) parts[shards[at] as number]?.write((rules[at] as Placed).place);
  }
  return parts.map(({ finish }) => finish());
}

interface Part {
  write(place: Place): void;
  finish(): PlacesPart;
}

/** Returns a part for so many places. */
function createPart(count: number): Part {
  const records = new DataView(new ArrayBuffer(count * RECORD_BYTES));
  const lists = new Map<string, number>();
  let last = { file: "", pointer: "", list: -1 };
  let end = 0;
  return {
    write: ({ file, line, column, pointer }) => {
      const slash = findIndex(pointer);
      const listEnd = slash < 0 ? pointer.length : slash;
      const isSameList = listEnd === last.pointer.length && pointer.startsWith(last.pointer) && file === last.file;
      if (!isSameList || last.list < 0) {
        const list = pointer.slice(0, listEnd);
        const key = JSON.stringify([file, list]);
        const number = lists.get(key) ?? lists.size;
        lists.set(key, number);
        last = { file, pointer: list, list: number };
      }
      records.setUint32(end, line, true);
      records.setUint32(end + 4, column, true);
      records.setUint32(end + 8, last.list, true);
      records.setUint32(end + 12, slash < 0 ? NO_INDEX : parseDigits(pointer, slash + 1), true);
      end += RECORD_BYTES;
    },
    finish: () => [Buffer.from(`[${[...lists.keys()].join(",")}]\n`), Buffer.from(records.buffer)],
  };
}

/** Returns where the slash stands before the index that ends a pointer; -1 when it ends with none. */
function findIndex(pointer: string): number {
  let at = pointer.length - 1;
  while (at >= 0 && isDigit(pointer.charCodeAt(at))) at--;
  const digits = pointer.length - 1 - at;
  const isIndex = digits === 1 || (digits > 1 && digits <= MAX_INDEX_DIGITS && pointer.charCodeAt(at + 1) !== ZERO);
  return isIndex && pointer.charCodeAt(at) === SLASH ? at : -1;
}

/** A longer number, or one that begins with 0, is a key and no index. */
const MAX_INDEX_DIGITS = 9;
const SLASH = 0x2f;
const ZERO = 0x30;

function isDigit(code: number): boolean {
  return code >= ZERO && code <= ZERO + 9;
}

function parseDigits(text: string, start: number): number {
  let number = 0;
  for (let at = start; at < text.length; at++) number = number * 10 + text.charCodeAt(at) - ZERO;
  return number;
}

/** Returns the place of a rule by its number in its shard. @throws RangeError when there is none */
export function readPlace(bytes: Buffer, shard: number, ordinal: number): Place {
  const { lists, records } = openPart(bytes, shard);
  if (ordinal < 0 || (ordinal + 1) * RECORD_BYTES > records.length)
    throw new RangeError(`there is no place ${ordinal}`);
  return parseRecord(lists, records, ordinal);
}

/** Returns all places of a shard. @throws RangeError when they are none */
export function readPlaces(bytes: Buffer, shard: number): readonly Place[] {
  const { lists, records } = openPart(bytes, shard);
  return Array.from({ length: records.length / RECORD_BYTES }, (_, ordinal) => parseRecord(lists, records, ordinal));
}

type Lists = readonly (readonly [file: string, pointer: string])[];

function openPart(bytes: Buffer, shard: number): { readonly lists: Lists; readonly records: Buffer } {
  const head = bytes.indexOf("\n") + 1;
  const lengths = head === 0 ? [] : (JSON.parse(bytes.toString("utf8", 0, head)) as readonly number[]);
  const start = lengths.slice(0, shard).reduce((sum, length) => sum + length, head);
  const end = start + (lengths[shard] ?? 0);
  const first = bytes.indexOf("\n", start) + 1;
  const isWhole = start < end && end <= bytes.length && first > start && first <= end;
  if (!isWhole || (end - first) % RECORD_BYTES !== 0) throw new RangeError(`there are no places of shard ${shard}`);
  return { lists: JSON.parse(bytes.toString("utf8", start, first)) as Lists, records: bytes.subarray(first, end) };
}

function parseRecord(lists: Lists, records: Buffer, ordinal: number): Place {
  const numberAt = (offset: number): number => records.readUInt32LE(ordinal * RECORD_BYTES + offset);
  const [file, pointer] = lists[numberAt(8)] ?? [null, ""];
  if (file === null) throw new RangeError(`there is no list ${numberAt(8)}`);
  const index = numberAt(12);
  return {
    ...{ file, line: numberAt(0), column: numberAt(4) },
    pointer: index === NO_INDEX ? pointer : `${pointer}/${index}`,
  };
}
