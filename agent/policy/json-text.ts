import { parse } from "@humanwhocodes/momoa";
import type { Json } from "../errors.ts";
import { decodeText, type PositionAt, positionOf, scanText } from "./json-bytes.ts";
import { splitPointer } from "./json-pointer.ts";
import { type Scanned, type Spot, scanJson } from "./json-scan.ts";
import { quoteText } from "./parsed.ts";
import type { Place } from "./policy.ts";

/** Why a text is refused: where, what, and what to do about it. */
export interface TextIssue {
  readonly place: Place;
  readonly message: string;
  readonly remedy: string;
}

export interface JsonDocument {
  readonly ok: true;
  /** Objects have no prototype, so a key such as `__proto__` is data like any other. */
  readonly value: Json;
  /** Returns the place of a value, or of its key; of the nearest ancestor when there is no such value. */
  locate(pointer: string, part?: "value" | "key"): Place;
  /** Returns whether an element of a list stands at a place of this file; costs next to nothing. */
  isItemAt(listPointer: string, index: number, place: Place): boolean;
  /** Where everything begins, and each line, as offsets of the text. */
  readonly spot: Spot;
  readonly lineStarts: readonly number[];
}

export type JsonResult = JsonDocument | { readonly ok: false; readonly issues: readonly TextIssue[] };

export interface JsonTextOptions {
  /** The name that places carry. */
  readonly file: string;
  /** Default 1 MiB; at most 64 MiB. */
  readonly maxBytes?: number;
  /** Arrays and objects inside one another; default 64, at most 1000. */
  readonly maxDepth?: number;
}

const DEFAULT_MAX_BYTES = 1024 * 1024;
/** What `maxBytes` may be raised to: 100,000 entries with owner, reason and ticket each. */
export const HIGHEST_MAX_BYTES = 64 * 1024 * 1024;
const DEFAULT_MAX_DEPTH = 64;
const HIGHEST_MAX_DEPTH = 1000;

/**
 * Returns the value of a JSON text (RFC 8259, UTF-8) and a way to find places in it; or every reason why it is refused.
 * Stricter than the RFC asks: bounded size and depth, no byte order mark, no key twice in an object, no control or
 * direction characters or half surrogate pairs in strings, no number that a double cannot hold.
 */
export function parseJsonText(bytes: Uint8Array, options: JsonTextOptions): JsonResult {
  const { file } = options;
  const maxBytes = Math.min(options.maxBytes ?? DEFAULT_MAX_BYTES, HIGHEST_MAX_BYTES);
  const maxDepth = Math.min(options.maxDepth ?? DEFAULT_MAX_DEPTH, HIGHEST_MAX_DEPTH);
  const decoded = decodeText(bytes, maxBytes);
  const checked = decoded.ok ? scanText(decoded.text, maxDepth) : decoded;
  if (!checked.ok) return refuseAt(file, checked);
  const { text } = checked;
  // The platform's parser judges the grammar; the library is asked only where a refused text is wrong.
  try {
    JSON.parse(text);
  } catch {
    return refuseAt(file, explainSyntax(text));
  }
  const scanned = scanJson(text);
  if (scanned.issues.length > 0) return { ok: false, issues: toTextIssues(file, text, scanned) };
  return documentOf(file, scanned.value, scanned.spot, findLineStarts(text));
}

/** Returns a document of what was found in a text. */
export function documentOf(file: string, value: Json, spot: Spot, lineStarts: readonly number[]): JsonDocument {
  return { ok: true, value, spot, lineStarts, ...buildLocator(file, lineStarts, spot) };
}

/** Returns one line for people: `file:line:column: message; remedy`. */
export function formatTextIssue(issue: TextIssue): string {
  const { file, line, column } = issue.place;
  return `${file}:${line}:${column}: ${issue.message}; ${issue.remedy}`;
}

function refuseAt(file: string, problem: PositionAt): { readonly ok: false; readonly issues: readonly TextIssue[] } {
  const { line, column, message, remedy } = problem;
  return { ok: false, issues: [{ place: { file, line, column, pointer: "" }, message, remedy }] };
}

function toTextIssues(file: string, text: string, scanned: Scanned): readonly TextIssue[] {
  return scanned.issues.map(({ offset, pointer, message, remedy, other }) => {
    const first = other === null ? null : positionOf(text, other);
    const where = first === null ? "" : `; the first is at line ${first.line}, column ${first.column}`;
    return { place: { file, ...positionOf(text, offset), pointer }, message: `${message}${where}`, remedy };
  });
}

function explainSyntax(text: string): PositionAt {
  const offset = findSyntaxError(text);
  const isLastComma = text[offset] === "," && text.slice(offset + 1).trim() === "";
  if (offset >= text.length || isLastComma) {
    const message = text.trim() === "" ? "the text is empty" : "the text ends before the JSON is complete";
    const remedy = "close every bracket, brace and quote that was opened";
    return { ...positionOf(text, text.length), message, remedy };
  }
  const position = positionOf(text, offset);
  const found = String.fromCodePoint(text.codePointAt(offset) ?? 0);
  const before = text.slice(0, offset).trimEnd().at(-1);
  if ((found === "}" || found === "]") && before === ",") {
    return { ...position, message: `a comma stands before ${found}`, remedy: "remove the comma after the last entry" };
  }
  if (found === "/" || found === "#") {
    return { ...position, message: "JSON has no comments", remedy: "remove it; say why in the commit message" };
  }
  if (found === "'") {
    return { ...position, message: "a single quote is no JSON", remedy: "write strings and keys in double quotes" };
  }
  const remedy = "look for a missing comma, colon or quote before it";
  return { ...position, message: `${quoteText(found)} is not expected here`, remedy };
}

function findSyntaxError(text: string): number {
  try {
    parse(text, { mode: "json" });
  } catch (error) {
    const isEnd = /end of input/.test(String(error));
    const { offset } = error as { readonly offset?: number };
    return isEnd || offset === undefined ? text.length : offset;
  }
  return 0;
}

function buildLocator(
  file: string,
  lineStarts: readonly number[],
  root: Spot,
): Pick<JsonDocument, "locate" | "isItemAt"> {
  const placeAt = (offset: number, pointer: string): Place => {
    const line = countUpTo(lineStarts, offset);
    return { file, line, column: offset - (lineStarts[line - 1] ?? 0) + 1, pointer };
  };
  let recent = { pointer: "", spot: root, isFound: true };
  /** Finds what a pointer names, or its nearest ancestor. The last answer is kept: entries of one list are asked in turn. */
  const find = (pointer: string): typeof recent => {
    if (recent.pointer === pointer) return recent;
    recent = { pointer, spot: root, isFound: true };
    for (const step of splitPointer(pointer)) {
      const next = stepInto(recent.spot, step);
      if (next === null) {
        recent.isFound = false;
        break;
      }
      recent.spot = next.value;
    }
    return recent;
  };
  const locate: JsonDocument["locate"] = (pointer, part = "value") => {
    const slash = pointer.lastIndexOf("/");
    if (slash === -1) return placeAt(startOf(root), pointer);
    const { spot, isFound } = find(pointer.slice(0, slash));
    const step = pointer.slice(slash + 1);
    const last = isFound ? stepInto(spot, step.includes("~") ? (splitPointer(`/${step}`)[0] ?? "") : step) : null;
    if (last === null) return placeAt(startOf(spot), pointer);
    return placeAt(part === "key" ? last.key : startOf(last.value), pointer);
  };
  const isItemAt: JsonDocument["isItemAt"] = (listPointer, index, place) => {
    const { spot, isFound } = find(listPointer);
    if (!isFound || typeof spot === "number" || !("items" in spot)) return false;
    const item = spot.items[index];
    const offset = (lineStarts[place.line - 1] ?? Number.NaN) + place.column - 1;
    const isInLine = offset < (lineStarts[place.line] ?? Number.POSITIVE_INFINITY);
    return item !== undefined && startOf(item) === offset && isInLine && place.file === file;
  };
  return { locate, isItemAt };
}

/** Returns a member or element; the key of an element is the element. */
function stepInto(spot: Spot, step: string): { readonly key: number; readonly value: Spot } | null {
  if (typeof spot === "number") return null;
  if ("members" in spot) return spot.members.get(step) ?? null;
  const item = spot.items[Number(step)];
  return item === undefined ? null : { key: startOf(item), value: item };
}

function startOf(spot: Spot): number {
  return typeof spot === "number" ? spot : spot.start;
}

function findLineStarts(text: string): readonly number[] {
  const starts = [0];
  for (const { index, 0: end } of text.matchAll(/\r\n|[\r\n]/g)) starts.push(index + end.length);
  return starts;
}

/** Returns how many of some ascending numbers are at most a limit. */
function countUpTo(ascending: readonly number[], limit: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ascending[middle] ?? 0) <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
