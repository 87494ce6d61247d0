import type { Json } from "../errors.ts";
import { parseCidr } from "../policy/cidr.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import { quoteText } from "../policy/parsed.ts";
import type { Cidr } from "../policy/policy.ts";
import type { FieldReader, JsonObject } from "./fields.ts";
import { principalRule } from "./names.ts";
import { MAX_PRINCIPALS, MAX_RULES, type Role, type Rule } from "./root.ts";

const MAX_PATTERNS = 100;
/** `*` stands for anything within a step of a path or a name, `**` for any number of steps. */
const patternRule = {
  pattern: /^[A-Za-z0-9*][A-Za-z0-9._*@/-]{0,254}$/,
  about: "a pattern of letters, digits, ._-@/ and *",
};
const anyText = { pattern: /^[\x20-\x7e]{1,64}$/, about: "an address or network" };

/** The principals of a root, and those of them who have a key that is not revoked. */
export interface RoleContext {
  readonly names: ReadonlySet<string>;
  readonly usable: ReadonlySet<string>;
}

/** Returns a role; null, with issues, when nobody or not enough people could ever fill it. */
export function parseRole(
  value: Json | undefined,
  pointer: string,
  context: RoleContext,
  fields: FieldReader,
  optional: readonly string[] = [],
): Role | null {
  const object = fields.object(value, pointer, { required: ["principals", "threshold"], optional });
  return object === null ? null : readRole(object, pointer, context, fields);
}

function readRole(object: JsonObject, pointer: string, context: RoleContext, fields: FieldReader): Role | null {
  const listed = fields.list(object["principals"], `${pointer}/principals`, MAX_PRINCIPALS);
  if (listed === null) return null;
  const seen = new Set<string>();
  for (const [index, entry] of listed.entries()) {
    const at = `${pointer}/principals/${index}`;
    const name = fields.text(entry, at, principalRule);
    if (name === null) continue;
    if (seen.has(name)) fields.refuse(at, `${quoteText(name)} stands twice`, "name each principal once");
    if (!context.names.has(name)) {
      fields.refuse(at, `there is no principal ${quoteText(name)}`, "add it under `principals`");
    }
    seen.add(name);
  }
  const usable = listed.filter((name) => !context.names.has(String(name)) || context.usable.has(String(name))).length;
  if (usable === 0) {
    return fields.refuse(`${pointer}/principals`, "every key of everybody here is revoked", "name somebody with a key");
  }
  const threshold = fields.integer(object["threshold"], `${pointer}/threshold`, 1, usable);
  if (threshold === null) return null;
  const tighten = Object.hasOwn(object, "tighten")
    ? fields.integer(object["tighten"], `${pointer}/tighten`, 1, threshold)
    : threshold;
  return tighten === null ? null : { principals: [...seen].sort(compareTexts), threshold, tighten };
}

/** Returns the rules of a root in their order; those with issues are left out. */
export function parseRules(value: Json | undefined, context: RoleContext, fields: FieldReader): readonly Rule[] {
  const listed = value === undefined ? [] : (fields.list(value, "/rules", MAX_RULES) ?? []);
  const names = new Set<string>();
  return listed.flatMap((entry, index) => {
    const pointer = `/rules/${index}`;
    const optional = ["tighten", "files", "hosts", "sources", "lock"];
    const object = fields.object(entry, pointer, { required: ["name", "principals", "threshold"], optional });
    if (object === null) return [];
    const name = fields.text(object["name"], `${pointer}/name`, principalRule);
    if (name !== null && names.has(name))
      fields.refuse(`${pointer}/name`, `${quoteText(name)} stands twice`, "rename it");
    const role = readRole(object, pointer, context, fields);
    if (name === null || role === null) return [];
    names.add(name);
    return [{ name, ...role, ...readScope(object, pointer, fields) }];
  });
}

function readScope(
  object: JsonObject,
  pointer: string,
  fields: FieldReader,
): Pick<Rule, "files" | "hosts" | "sources" | "lock"> {
  const files = readPatterns(object, `${pointer}/files`, "files", fields);
  const hosts = readPatterns(object, `${pointer}/hosts`, "hosts", fields);
  const sources = readSources(object, `${pointer}/sources`, fields);
  const { lock = false } = object;
  if (typeof lock !== "boolean") fields.refuse(`${pointer}/lock`, '"lock" is not true or false', "write true or false");
  if (files === null && hosts === null) fields.refuse(pointer, 'the rule has neither "files" nor "hosts"', "add one");
  if (lock === true && files === null) fields.refuse(`${pointer}/lock`, "a lock of its own needs files", 'add "files"');
  if (sources !== null && hosts === null) {
    fields.refuse(`${pointer}/sources`, '"sources" says where hosts may be, but there are none', 'add "hosts"');
  }
  return { files, hosts, sources, lock: lock === true };
}

function readPatterns(object: JsonObject, pointer: string, key: string, fields: FieldReader): readonly string[] | null {
  if (!Object.hasOwn(object, key)) return null;
  const listed = fields.list(object[key], pointer, MAX_PATTERNS) ?? [];
  const texts = listed.map((entry, index) => fields.text(entry, `${pointer}/${index}`, patternRule));
  return texts.filter((text) => text !== null);
}

function readSources(object: JsonObject, pointer: string, fields: FieldReader): readonly Cidr[] | null {
  if (!Object.hasOwn(object, "sources")) return null;
  const listed = fields.list(object["sources"], pointer, MAX_PATTERNS) ?? [];
  return listed.flatMap((entry, index) => {
    const text = fields.text(entry, `${pointer}/${index}`, anyText);
    const parsed = text === null ? null : parseCidr(text);
    if (parsed?.ok === false) fields.refuse(`${pointer}/${index}`, parsed.message, parsed.remedy);
    return parsed?.ok === true ? [parsed.value] : [];
  });
}
