import type { Json } from "../errors.ts";
import { joinPointer } from "../policy/json-pointer.ts";
import type { JsonDocument, TextIssue } from "../policy/json-text.ts";
import { quoteText } from "../policy/parsed.ts";

export type JsonObject = { readonly [key: string]: Json };

/** A text that a field may hold, and how to say so to a person. */
export interface TextRule {
  readonly pattern: RegExp;
  readonly about: string;
}

/** Takes typed values out of a JSON document. A value that is wrong adds an issue with its place and gives null. */
export interface FieldReader {
  readonly issues: readonly TextIssue[];
  refuse(pointer: string, message: string, remedy: string, part?: "value" | "key"): null;
  /** An object with all required keys and no others than the optional ones. */
  object(value: Json | undefined, pointer: string, keys: ObjectKeys): JsonObject | null;
  /** An object with keys of the author's choice; between 1 and `most` of them. */
  entries(value: Json | undefined, pointer: string, most: number): readonly (readonly [string, Json])[] | null;
  /** An array of 1 to `most` elements. */
  list(value: Json | undefined, pointer: string, most: number): readonly Json[] | null;
  text(value: Json | undefined, pointer: string, rule: TextRule): string | null;
  integer(value: Json | undefined, pointer: string, least: number, most: number): number | null;
  /** A time in UTC to the second, as milliseconds since the epoch. */
  time(value: Json | undefined, pointer: string): number | null;
}

export interface ObjectKeys {
  readonly required: readonly string[];
  readonly optional?: readonly string[];
}

/** Returns a reader whose issues point into the document. */
export function readFields(document: JsonDocument): FieldReader {
  const issues: TextIssue[] = [];
  const refuse: FieldReader["refuse"] = (pointer, message, remedy, part) => {
    issues.push({ place: document.locate(pointer, part), message, remedy });
    return null;
  };
  const asObject = (value: Json | undefined, pointer: string): JsonObject | null =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as JsonObject)
      : refuse(pointer, `${nameOf(pointer)} is not an object`, "write an object in braces");
  const between = (count: number, most: number, pointer: string): boolean => {
    if (count >= 1 && count <= most) return true;
    refuse(pointer, `${nameOf(pointer)} has ${count} entries`, `write 1 to ${most} entries`);
    return false;
  };
  return {
    issues,
    refuse,
    object: (value, pointer, { required, optional = [] }) => {
      const object = asObject(value, pointer);
      if (object === null) return null;
      const missing = required.filter((key) => !Object.hasOwn(object, key));
      for (const key of missing)
        refuse(pointer, `${nameOf(pointer)} has no ${quoteText(key)}`, `add ${quoteText(key)}`);
      const unknown = Object.keys(object).filter((key) => !required.includes(key) && !optional.includes(key));
      for (const key of unknown) {
        const known = [...required, ...optional].join(", ");
        refuse(joinPointer(pointer, key), `${quoteText(key)} is not known here`, `use only ${known}`, "key");
      }
      return missing.length + unknown.length === 0 ? object : null;
    },
    entries: (value, pointer, most) => {
      const object = asObject(value, pointer);
      if (object === null) return null;
      const entries = Object.entries(object);
      return between(entries.length, most, pointer) ? entries : null;
    },
    list: (value, pointer, most) => {
      if (!Array.isArray(value)) return refuse(pointer, `${nameOf(pointer)} is not a list`, "write a list in brackets");
      return between(value.length, most, pointer) ? value : null;
    },
    text: (value, pointer, { pattern, about }) => {
      if (typeof value === "string" && pattern.test(value)) return value;
      const shown = typeof value === "string" ? quoteText(value) : "this value";
      return refuse(pointer, `${shown} is not ${about}`, `write ${about}`);
    },
    integer: (value, pointer, least, most) => {
      if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
      const about = `a whole number from ${least} to ${most}`;
      return refuse(pointer, `${nameOf(pointer)} is not ${about}`, `write ${about}`);
    },
    time: (value, pointer) => {
      const atMs = typeof value === "string" ? parseTime(value) : null;
      return atMs ?? refuse(pointer, `${nameOf(pointer)} is not a time in UTC`, "write it as 2027-06-30T00:00:00Z");
    },
  };
}

/** Returns the milliseconds since the epoch of `2027-06-30T00:00:00Z`, or null for another spelling or no such day. */
export function parseTime(text: string): number | null {
  if (!/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text)) return null;
  const atMs = Date.parse(text);
  return Number.isNaN(atMs) || formatTime(atMs) !== text ? null : atMs;
}

/** Returns a time as `2027-06-30T00:00:00Z`, without its milliseconds. */
export function formatTime(atMs: number): string {
  return `${new Date(atMs).toISOString().slice(0, 19)}Z`;
}

function nameOf(pointer: string): string {
  return pointer === "" ? "the document" : quoteText(pointer.slice(pointer.lastIndexOf("/") + 1));
}
