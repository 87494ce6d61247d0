import type { ArrayNode, DocumentNode, MemberNode, ObjectNode, ValueNode } from "@humanwhocodes/momoa";
import { parse } from "@humanwhocodes/momoa";
import type { Json } from "../errors.ts";
import { decodeText, hex4, type PositionAt, positionOf, scanText } from "./json-bytes.ts";
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
}

export type JsonResult = JsonDocument | { readonly ok: false; readonly issues: readonly TextIssue[] };

export interface JsonTextOptions {
  /** The name that places carry. */
  readonly file: string;
  /** Default 1 MiB; at most 64 MiB. */
  readonly maxBytes?: number;
  /** Arrays and objects inside one another; default 64. */
  readonly maxDepth?: number;
}

export const DEFAULT_MAX_BYTES = 1024 * 1024;
/** What `maxBytes` may be raised to: 100,000 entries with owner, reason and ticket each. */
export const HIGHEST_MAX_BYTES = 64 * 1024 * 1024;
const DEFAULT_MAX_DEPTH = 64;
const MAX_ISSUES = 100;

/**
 * Returns the value of a JSON text (RFC 8259, UTF-8) and a way to find places in it; or every reason why it is refused.
 * Stricter than the RFC asks: bounded size and depth, no byte order mark, no key twice in an object, no control or
 * direction characters or half surrogate pairs in strings, no number that a double cannot hold.
 */
export function parseJsonText(bytes: Uint8Array, options: JsonTextOptions): JsonResult {
  const { file } = options;
  const maxBytes = Math.min(options.maxBytes ?? DEFAULT_MAX_BYTES, HIGHEST_MAX_BYTES);
  const decoded = decodeText(bytes, maxBytes);
  const scanned = decoded.ok ? scanText(decoded.text, options.maxDepth ?? DEFAULT_MAX_DEPTH) : decoded;
  if (!scanned.ok) return refuseAt(file, scanned);
  const { text } = scanned;

  let document: DocumentNode;
  try {
    document = parse(text, { mode: "json" });
  } catch (error) {
    return refuseAt(file, explainSyntax(text, error));
  }
  const issues: TextIssue[] = [];
  const value = toValue(document.body, { file, pointer: "", issues });
  if (issues.length > 0) return { ok: false, issues };
  return { ok: true, value, locate: buildLocator(file, document.body) };
}

/** Returns one line for people: `file:line:column: message (remedy)`. */
export function formatTextIssue(issue: TextIssue): string {
  const { file, line, column } = issue.place;
  return `${file}:${line}:${column}: ${issue.message}; ${issue.remedy}`;
}

/** Returns a pointer (RFC 6901) to a member or element of what another pointer names. */
export function joinPointer(pointer: string, key: string | number): string {
  const step = typeof key === "number" ? String(key) : key.replaceAll("~", "~0").replaceAll("/", "~1");
  return `${pointer}/${step}`;
}

function refuseAt(file: string, problem: PositionAt): { readonly ok: false; readonly issues: readonly TextIssue[] } {
  const { line, column, message, remedy } = problem;
  return { ok: false, issues: [{ place: { file, line, column, pointer: "" }, message, remedy }] };
}

function explainSyntax(text: string, error: unknown): PositionAt {
  const at = error as { readonly line?: number; readonly column?: number; readonly offset?: number };
  const offset = at.offset ?? text.length;
  const isEnd =
    offset >= text.length || (error as Error).name === "UnexpectedEOF" || /end of input/.test(String(error));
  if (isEnd) {
    const message = text.trim() === "" ? "the text is empty" : "the text ends before the JSON is complete";
    return {
      ...positionOf(text, text.length),
      message,
      remedy: "close every bracket, brace and quote that was opened",
    };
  }
  const found = String.fromCodePoint(text.codePointAt(offset) ?? 0);
  const position = { line: at.line ?? 1, column: at.column ?? 1 };
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
  return {
    ...position,
    message: `${quoteText(found)} is not expected here`,
    remedy: "look for a missing comma, colon or quote before it",
  };
}

interface Walk {
  readonly file: string;
  readonly pointer: string;
  readonly issues: TextIssue[];
}

function toValue(node: ValueNode, walk: Walk): Json {
  switch (node.type) {
    case "Object":
      return toObject(node, walk);
    case "Array":
      return node.elements.map((element, index) =>
        toValue(element.value, { ...walk, pointer: joinPointer(walk.pointer, index) }),
      );
    case "String":
      checkString(node.value, node.loc.start, "the string", walk);
      return node.value;
    case "Number":
      if (!Number.isFinite(node.value) || Math.abs(node.value) > Number.MAX_SAFE_INTEGER) {
        addIssue(walk, node.loc.start, "the number is too large to be exact", "write a number below 2^53");
      }
      // A negative zero would compare equal to zero but print differently elsewhere.
      return node.value + 0;
    case "Boolean":
      return node.value;
    default:
      return null;
  }
}

function toObject(node: ObjectNode, walk: Walk): Json {
  const object: Record<string, Json> = Object.create(null);
  const first = new Map<string, MemberNode>();
  for (const member of node.members) {
    const key = keyOf(member);
    checkString(key, member.name.loc.start, "the key", walk);
    const earlier = first.get(key);
    if (earlier !== undefined) {
      const { line, column } = earlier.name.loc.start;
      const message = `the key ${quoteText(key)} stands twice; the first is at line ${line}, column ${column}`;
      addIssue(
        { ...walk, pointer: joinPointer(walk.pointer, key) },
        member.name.loc.start,
        message,
        "keep one of them",
      );
      continue;
    }
    first.set(key, member);
    object[key] = toValue(member.value, { ...walk, pointer: joinPointer(walk.pointer, key) });
  }
  return object;
}

// Direction marks make a reviewer see another text than the machine does; line separators break one-line logs.
const forbiddenCharacters = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/u;

function checkString(text: string, at: { line: number; column: number }, what: string, walk: Walk): void {
  const found = forbiddenCharacters.exec(text);
  if (found === null) return;
  const message = `${what} contains the forbidden character U+${hex4(found[0].codePointAt(0) ?? 0)}`;
  addIssue(walk, at, message, "remove it; control and direction characters and half surrogate pairs are refused");
}

function addIssue(walk: Walk, at: { line: number; column: number }, message: string, remedy: string): void {
  if (walk.issues.length >= MAX_ISSUES) return;
  const place = { file: walk.file, line: at.line, column: at.column, pointer: walk.pointer };
  walk.issues.push({ place, message, remedy });
}

function keyOf(member: MemberNode): string {
  return member.name.type === "String" ? member.name.value : member.name.name;
}

function buildLocator(file: string, root: ValueNode): JsonDocument["locate"] {
  // Member lists are searched by key once per object, so that places in 10,000 hosts are not quadratic.
  const members = new WeakMap<ObjectNode, Map<string, MemberNode>>();
  const membersOf = (node: ObjectNode): Map<string, MemberNode> => {
    const known = members.get(node);
    if (known !== undefined) return known;
    const map = new Map(node.members.map((member) => [keyOf(member), member]));
    members.set(node, map);
    return map;
  };
  const elementOf = (node: ArrayNode, step: string): ValueNode | undefined => node.elements[Number(step)]?.value;

  return (pointer, part = "value") => {
    let node: ValueNode = root;
    let start = root.loc.start;
    for (const step of pointer.split("/").slice(1)) {
      const key = step.replaceAll("~1", "/").replaceAll("~0", "~");
      const member: MemberNode | undefined = node.type === "Object" ? membersOf(node).get(key) : undefined;
      const next: ValueNode | undefined = node.type === "Array" ? elementOf(node, key) : member?.value;
      if (next === undefined) return { file, line: node.loc.start.line, column: node.loc.start.column, pointer };
      node = next;
      start = part === "key" && member !== undefined ? member.name.loc.start : node.loc.start;
    }
    return { file, line: start.line, column: start.column, pointer };
  };
}
