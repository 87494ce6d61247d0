import { isAscii } from "node:buffer";
import type { Json } from "../errors.ts";
import type { Spot } from "./json-scan.ts";
import { documentOf, type JsonDocument, type JsonTextOptions, parseJsonText } from "./json-text.ts";

/** A text that was read, and what was found in it. */
export interface KnownText {
  readonly bytes: Uint8Array;
  readonly document: JsonDocument;
}

/** A string of a list that is another one now: the list's keys from the root, and the string's index and text. */
export interface StringEdit {
  readonly list: readonly string[];
  readonly index: number;
  readonly text: string;
}

/**
 * Returns the document of a text that differs from a known one within one string of a list, without reading the rest; null
 * when it differs in another way, or nothing can be said of it. What comes out is what `parseJsonText` returns.
 */
export function patchJsonText(
  { bytes: last, document }: KnownText,
  bytes: Uint8Array,
  options: JsonTextOptions,
): { readonly document: JsonDocument; readonly edit: StringEdit } | null {
  // Only where each character is a byte are the places of a text those of its bytes.
  if (!isAscii(last) || !isAscii(bytes)) return null;
  const start = countCommonStart(last, bytes);
  const commonEnd = countCommonEnd(last, bytes, Math.min(last.length, bytes.length) - start);
  const found = findListItem(document.spot, start);
  if (found === null) return null;
  const { offset, list, index } = found;
  const end = findStringEnd(last, offset);
  // The string and both of its quotes are where they were; what differs is between them.
  const isWithin = offset < start && end !== null && end < last.length && last.length - commonEnd <= end;
  if (!isWithin) return null;
  const by = bytes.length - last.length;
  const literal = bytes.subarray(offset, end + 1 + by);
  const parsed = parseJsonText(Buffer.concat([Buffer.from("["), literal, Buffer.from("]")]), options);
  const [text, ...others] = parsed.ok && Array.isArray(parsed.value) ? parsed.value : [];
  if (typeof text !== "string" || others.length > 0) return null;
  const value = replaceItem(document.value, list, index, text);
  const lineStarts = by === 0 ? document.lineStarts : document.lineStarts.map((at) => (at > offset ? at + by : at));
  const patched = documentOf(options.file, value, shiftSpot(document.spot, offset, by), lineStarts);
  return { document: patched, edit: { list, index, text } };
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

/** Returns the plain value in a list that begins last before an offset. */
function findListItem(
  root: Spot,
  before: number,
): { readonly offset: number; readonly list: readonly string[]; readonly index: number } | null {
  const list: string[] = [];
  let spot = root;
  while (typeof spot !== "number" && "members" in spot) {
    let last: { readonly key: string; readonly value: Spot } | null = null;
    for (const [key, { value }] of spot.members) if (startOf(value) < before) last = { key, value };
    if (last === null) return null;
    list.push(last.key);
    spot = last.value;
  }
  if (typeof spot === "number") return null;
  const { items } = spot;
  const index = countWhile(items.length, (_from, to) => startOf(items[to - 1] ?? 0) < before) - 1;
  const item = items[index];
  return typeof item === "number" ? { offset: item, list, index } : null;
}

function startOf(spot: Spot): number {
  return typeof spot === "number" ? spot : spot.start;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Returns where the quote stands that ends the string which begins at an offset; null when there begins no string. */
function findStringEnd(bytes: Uint8Array, offset: number): number | null {
  if (bytes[offset] !== QUOTE) return null;
  for (let at = offset + 1; at < bytes.length; at++) {
    if (bytes[at] === BACKSLASH) at++;
    else if (bytes[at] === QUOTE) return at;
  }
  return null;
}

function replaceItem(value: Json, list: readonly string[], index: number, text: string): Json {
  const [key, ...rest] = list;
  if (key === undefined) return (value as readonly Json[]).with(index, text);
  const object = value as { readonly [key: string]: Json };
  // Without a prototype, as all objects of a document are.
  const copy: { [key: string]: Json } = Object.assign(Object.create(null), object);
  copy[key] = replaceItem(object[key] ?? null, rest, index, text);
  return copy;
}

function shiftSpot(spot: Spot, after: number, by: number): Spot {
  if (by === 0) return spot;
  const shift = (at: number): number => (at > after ? at + by : at);
  if (typeof spot === "number") return shift(spot);
  const start = shift(spot.start);
  if ("items" in spot) return { start, items: spot.items.map((item) => shiftSpot(item, after, by)) };
  const members = [...spot.members].map(
    ([key, member]) => [key, { key: shift(member.key), value: shiftSpot(member.value, after, by) }] as const,
  );
  return { start, members: new Map(members) };
}
