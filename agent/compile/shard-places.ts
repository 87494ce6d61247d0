import type { Place } from "../policy/policy.ts";
import { SHARDS } from "./shards.ts";

/*
 * Where the rules of a shard are written, in the order in which the shard has them: a first line with the lists that they
 * stand in, as JSON, then for each rule its line, its column, its list and its index there. Names are not said again, so
 * that 100,000 places, which all move with a new line above them, are 2 MB.
 */

/** What the place of an entry that is in no list has for an index. */
const NO_INDEX = "-";

interface Placed {
  readonly place: Place;
}

/** Returns the bytes of the places of some rules. */
export function renderPlaces(rules: readonly Placed[]): Buffer {
  const writer = createWriter(rules.length);
  for (const { place } of rules) writer.write(place);
  return writer.finish();
}

/** One shard after the other up to here; when more have moved, nearly all have. */
const MAX_SINGLE = 4;

/**
 * Returns what renders the places of a shard, given its rules. When a line has moved most of them, it goes through the lists
 * once and writes all shards: rules lie in memory as they do there, and 100,000 that are looked up one by one take 60 ms.
 */
export function createPlacesWriter(
  lists: readonly { readonly rules: readonly Placed[]; readonly shards: Uint8Array }[],
): (shard: number, rules: readonly Placed[]) => Buffer {
  let count = 0;
  let all: readonly Buffer[] | null = null;
  return (shard, rules) => {
    count += 1;
    if (count <= MAX_SINGLE) return renderPlaces(rules);
    all ??= renderAll(lists);
    return all[shard] ?? renderPlaces(rules);
  };
}

function renderAll(
  lists: readonly { readonly rules: readonly Placed[]; readonly shards: Uint8Array }[],
): readonly Buffer[] {
  const counts = SHARDS.map(() => 0);
  for (const { shards } of lists) for (const shard of shards) counts[shard] = (counts[shard] ?? 0) + 1;
  const writers = counts.map(createWriter);
  for (const { rules, shards } of lists) {
    for (let index = 0; index < rules.length; index++)
      writers[shards[index] ?? 0]?.write((rules[index] as Placed).place);
  }
  return writers.map(({ finish }) => finish());
}

interface PlacesWriter {
  write(place: Place): void;
  finish(): Buffer;
}

/** Returns a writer of at most so many places. */
function createWriter(count: number): PlacesWriter {
  const lines = Buffer.allocUnsafe(LINE_BYTES * count);
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
      end = writeNumber(lines, end, line, SPACE);
      end = writeNumber(lines, end, column, SPACE);
      end = writeNumber(lines, end, last.list, SPACE);
      if (slash >= 0) for (let at = slash + 1; at < pointer.length; at++) lines[end++] = pointer.charCodeAt(at);
      else lines[end++] = NO_INDEX.charCodeAt(0);
      lines[end++] = LINE_FEED;
    },
    finish: () => Buffer.concat([Buffer.from(`[${[...lists.keys()].join(",")}]\n`), lines.subarray(0, end)]),
  };
}

/** Longest line: three numbers and an index, of sixteen digits at most. */
const LINE_BYTES = 80;
const SPACE = 0x20;
const LINE_FEED = 0x0a;
const ZERO = 0x30;

/** Writes a number from 0 to 2^31 - 1 and a character; returns where the next one goes. Texts of numbers would be most of the time. */
function writeNumber(bytes: Buffer, start: number, number: number, behind: number): number {
  let digits = 1;
  for (let rest = number; rest >= 10; rest = (rest / 10) | 0) digits++;
  const end = start + digits;
  for (let at = end - 1, rest = number; at >= start; at--, rest = (rest / 10) | 0) bytes[at] = ZERO + (rest % 10);
  bytes[end] = behind;
  return end + 1;
}

/** Returns where the slash stands before the index that ends a pointer; -1 when it ends with none. */
function findIndex(pointer: string): number {
  let at = pointer.length - 1;
  while (at >= 0 && isDigit(pointer.charCodeAt(at))) at--;
  const isIndex = at >= 0 && at < pointer.length - 1 && pointer.length - at <= MAX_INDEX_DIGITS;
  return isIndex && pointer.charCodeAt(at) === SLASH ? at : -1;
}

const MAX_INDEX_DIGITS = 16;
const SLASH = 0x2f;

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

/** Returns the place of a rule by its number in the shard. @throws RangeError when there is none */
export function readPlace(bytes: Buffer, ordinal: number): Place {
  let start = bytes.indexOf("\n") + 1;
  const head = start;
  for (let passed = 0; passed < ordinal && start > 0; passed++) start = bytes.indexOf("\n", start) + 1;
  const end = bytes.indexOf("\n", start);
  if (head === 0 || start === 0 || end < 0) throw new RangeError(`there is no place ${ordinal}`);
  return parseLine(parseLists(bytes.toString("utf8", 0, head)), bytes.toString("latin1", start, end));
}

/** Returns all places of a shard. @throws RangeError when they are none */
export function readPlaces(bytes: Buffer): readonly Place[] {
  const [head = "", ...lines] = bytes.toString("utf8").split("\n");
  const lists = parseLists(head);
  return lines.slice(0, -1).map((line) => parseLine(lists, line));
}

type Lists = readonly (readonly [file: string, pointer: string])[];

function parseLists(text: string): Lists {
  return JSON.parse(text) as Lists;
}

function parseLine(lists: Lists, text: string): Place {
  const [line, column, list, index = NO_INDEX] = text.split(" ");
  const found = lists[Number(list)];
  if (found === undefined) throw new RangeError(`no place: ${JSON.stringify(text)}`);
  const [file, pointer] = found;
  return {
    ...{ file, line: Number(line), column: Number(column) },
    pointer: index === NO_INDEX ? pointer : `${pointer}/${index}`,
  };
}
