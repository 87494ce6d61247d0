import { isAscii } from "node:buffer";
import type { Json } from "../errors.ts";
import type { ArraySpot, Spot } from "./json-scan.ts";
import { documentOf, type JsonDocument, type JsonTextOptions, parseJsonText } from "./json-text.ts";

/** A text that was read, and what was found in it. */
export interface KnownText {
  readonly bytes: Uint8Array;
  readonly document: JsonDocument;
}

/** Strings of a list that stand where others stood: the list's keys from the root, and the first one's index. */
export interface ListPatch {
  readonly list: readonly string[];
  readonly index: number;
  readonly removed: number;
  readonly texts: readonly string[];
  /** Items of the list, now. */
  readonly count: number;
}

/** What is longer than this is read with the rest of its text. */
const MAX_PATCH_BYTES = 64 * 1024;

/**
 * Returns the document of a text that differs from a known one only by strings of one list, which follow each other and
 * are others now, more or fewer, without reading the rest; null when it differs in another way, or nothing can be said of
 * it. What comes out is what `parseJsonText` returns.
 */
export function patchJsonText(
  { bytes: last, document }: KnownText,
  bytes: Uint8Array,
  options: JsonTextOptions,
): { readonly document: JsonDocument; readonly patch: ListPatch } | null {
  // Only where each character is a byte are the places of a text those of its bytes.
  if (!isAscii(last) || !isAscii(bytes)) return null;
  const start = countCommonStart(last, bytes);
  const end = last.length - countCommonEnd(last, bytes, Math.min(last.length, bytes.length) - start);
  const found = findList(document.spot, start);
  const span = found === null ? null : findSpan(last, found.spot, start, end);
  if (found === null || span === null) return null;
  const by = bytes.length - last.length;
  const read = readItems(bytes.subarray(span.from, span.to + by), span, options);
  if (read === null) return null;
  const { list, spot: listSpot } = found;
  const { index, removed } = span;
  const count = listSpot.items.length - removed + read.texts.length;
  const patch: ListPatch = { list, index, removed, texts: read.texts, count };
  const value = replaceItems(document.value, list, patch);
  const move: Move = {
    from: span.to,
    by,
    listSpot,
    index,
    removed,
    spots: read.offsets.map((at) => span.from + at),
  };
  const moved = documentOf(options.file, value, moveSpot(document.spot, move), moveLines(document, span, by, read));
  return { document: moved, patch };
}

/** Returns how many bytes are the same at the beginning of both. */
function countCommonStart(a: Uint8Array, b: Uint8Array): number {
  const isSame = (from: number, to: number): boolean => isEqual(a.subarray(from, to), b.subarray(from, to));
  return countWhile(Math.min(a.length, b.length), isSame);
}

/** Returns how many bytes are the same at the end of both, at most so many. */
function countCommonEnd(a: Uint8Array, b: Uint8Array, most: number): number {
  const part = (of: Uint8Array, from: number, to: number): Uint8Array => of.subarray(of.length - to, of.length - from);
  return countWhile(most, (from, to) => isEqual(part(a, from, to), part(b, from, to)));
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** Returns how many of so many things something is true for, from the first on; it is asked for a part of them at a time. */
function countWhile(bound: number, isTrue: (from: number, to: number) => boolean): number {
  let low = 0;
  let high = bound;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (isTrue(low, middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Returns the list that begins last before an offset, when it is in no other list. */
function findList(root: Spot, before: number): { readonly list: readonly string[]; readonly spot: ArraySpot } | null {
  const list: string[] = [];
  let spot = root;
  while (typeof spot !== "number" && "members" in spot) {
    let last: { readonly key: string; readonly value: Spot } | null = null;
    for (const [key, { value }] of spot.members) if (startOf(value) < before) last = { key, value };
    if (last === null) return null;
    list.push(last.key);
    spot = last.value;
  }
  return typeof spot === "number" ? null : { list, spot };
}

/** A part of a list's text: from the bracket or the string before some items to the string or the bracket behind them. */
interface Span {
  readonly from: number;
  readonly to: number;
  readonly index: number;
  readonly removed: number;
  /** What stands before and behind it is a string, and not a bracket. */
  readonly isBehindString: boolean;
  readonly isBeforeString: boolean;
}

/** Returns the part of a list that contains a part of the text; null when that is not within the list. */
function findSpan(bytes: Uint8Array, { start: listStart, items }: ArraySpot, start: number, end: number): Span | null {
  const countBefore = (offset: number): number =>
    countWhile(items.length, (_from, to) => startOf(items[to - 1] ?? 0) < offset);
  const before = countBefore(start);
  const index = Math.max(0, before - 1);
  const next = Math.max(before, countBefore(end));
  const from = index === 0 ? listStart + 1 : findEnd(bytes, items[index - 1]);
  const nextItem = items[next];
  const isBeforeString = nextItem !== undefined;
  const isString = typeof nextItem === "number" && bytes[nextItem] === QUOTE;
  const to = isBeforeString ? (isString ? nextItem : null) : findBracket(bytes, items.at(-1), listStart);
  if (from === null || to === null || to < end) return null;
  return { from, to, index, removed: next - index, isBehindString: index > 0, isBeforeString };
}

function startOf(spot: Spot): number {
  return typeof spot === "number" ? spot : spot.start;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const BRACKET = 0x5d;

/** Returns where the text goes on behind a string; null when there is none. */
function findEnd(bytes: Uint8Array, spot: Spot | undefined): number | null {
  if (typeof spot !== "number" || bytes[spot] !== QUOTE) return null;
  for (let at = spot + 1; at < bytes.length; at++) {
    if (bytes[at] === BACKSLASH) at++;
    else if (bytes[at] === QUOTE) return at + 1;
  }
  return null;
}

/** Returns where the bracket stands that ends a list whose last item is a string, or which has none. */
function findBracket(bytes: Uint8Array, last: Spot | undefined, listStart: number): number | null {
  let at = last === undefined ? listStart + 1 : findEnd(bytes, last);
  // Nothing but white space may be between.
  while (at !== null && (bytes[at] ?? BRACKET) <= 0x20) at++;
  return at !== null && bytes[at] === BRACKET ? at : null;
}

interface Items {
  readonly texts: readonly string[];
  /** Of each from the beginning of the span. */
  readonly offsets: readonly number[];
  readonly lineStarts: readonly number[];
}

/** Returns the strings of a span; null when there is anything else in it. */
function readItems(bytes: Uint8Array, span: Span, options: JsonTextOptions): Items | null {
  if (bytes.length > MAX_PATCH_BYTES) return null;
  // As the list would be with nothing else in it: what is no part of a list there is none here.
  const head = span.isBehindString ? '["x"' : "[";
  const text = Buffer.concat([Buffer.from(head), bytes, Buffer.from(span.isBeforeString ? '"x"]' : "]")]);
  const parsed = parseJsonText(text, options);
  if (!parsed.ok || !Array.isArray(parsed.value) || typeof parsed.spot === "number") return null;
  const first = span.isBehindString ? 1 : 0;
  const end = parsed.value.length - (span.isBeforeString ? 1 : 0);
  const texts = parsed.value.slice(first, end);
  // A quote that is escaped now would begin no string.
  if (span.isBeforeString && parsed.value[end] !== "x") return null;
  if (end < first || !texts.every((item) => typeof item === "string") || !("items" in parsed.spot)) return null;
  const offsets = parsed.spot.items.slice(first, end).map((item) => startOf(item) - head.length);
  return { texts, offsets, lineStarts: parsed.lineStarts.slice(1).map((start) => start - head.length) };
}

function replaceItems(value: Json, list: readonly string[], patch: ListPatch): Json {
  const [key, ...rest] = list;
  if (key === undefined) return (value as readonly Json[]).toSpliced(patch.index, patch.removed, ...patch.texts);
  const object = value as { readonly [key: string]: Json };
  // Without a prototype, as all objects of a document are.
  const copy: { [key: string]: Json } = Object.assign(Object.create(null), object);
  copy[key] = replaceItems(object[key] ?? null, rest, patch);
  return copy;
}

/** What begins at an offset or behind it is moved, and items of one list are others. */
interface Move {
  readonly from: number;
  readonly by: number;
  readonly listSpot: ArraySpot;
  readonly index: number;
  readonly removed: number;
  readonly spots: readonly number[];
}

function moveSpot(spot: Spot, move: Move): Spot {
  const shift = (at: number): number => (at >= move.from ? at + move.by : at);
  if (typeof spot === "number") return shift(spot);
  const start = shift(spot.start);
  if ("items" in spot) {
    const items = spot.items.map((item) => (typeof item === "number" ? shift(item) : moveSpot(item, move)));
    if (spot === move.listSpot) items.splice(move.index, move.removed, ...move.spots);
    return { start, items };
  }
  const members = [...spot.members].map(
    ([key, member]) => [key, { key: shift(member.key), value: moveSpot(member.value, move) }] as const,
  );
  return { start, members: new Map(members) };
}

function moveLines({ lineStarts }: JsonDocument, { from, to }: Span, by: number, read: Items): readonly number[] {
  const countUpTo = (limit: number): number =>
    countWhile(lineStarts.length, (_from, count) => (lineStarts[count - 1] ?? 0) <= limit);
  const kept = lineStarts.slice(0, countUpTo(from));
  const behind = lineStarts.slice(countUpTo(to)).map((start) => start + by);
  const fresh = read.lineStarts.map((start) => start + from);
  return kept.concat(fresh, behind);
}
