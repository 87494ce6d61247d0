import type { PolicyDocument } from "./document.ts";
import { createIssueLog, type IssueSink } from "./issue-log.ts";
import { type KnownText, patchJsonText } from "./json-patch.ts";
import { joinPointer } from "./json-pointer.ts";
import {
  HIGHEST_MAX_BYTES,
  type JsonDocument,
  type JsonTextOptions,
  parseJsonText,
  type TextIssue,
} from "./json-text.ts";
import { quoteText } from "./parsed.ts";
import type { Place } from "./policy.ts";
import { validate } from "./policy-validator.generated.mjs";
import { explainSchemaErrors } from "./schema-issues.ts";
import type { PolicySource } from "./source-document.ts";

/** Files that include files, counted from the policy itself. */
const MAX_DEPTH = 8;
export const MAX_INCLUDED_FILES = 100;

/** What one file of a policy may say when another one includes it; everything else belongs into the policy itself. */
const includable = new Set<keyof PolicyDocument | "$schema">([
  "$schema",
  "version",
  "allow",
  "deny",
  "labels",
  "groups",
  "hosts",
  "include",
  "tests",
]);

export interface LoadOptions {
  /** Default 1 MiB for each file. */
  readonly maxBytes?: number;
  readonly maxDepth?: number;
  /** Path from the root of the repository → bytes, of the files that may be included. */
  readonly files?: ReadonlyMap<string, Uint8Array>;
  /** The texts that were read last, by file. */
  readonly texts?: Map<string, KnownText>;
}

/**
 * Returns the files of a policy: itself, then what it includes, in the order of the text, each before what it includes
 * itself. A file is included at most once, so that nothing goes round in a circle. What is wrong goes to the sink.
 */
export function loadSources(
  bytes: Uint8Array,
  file: string,
  options: LoadOptions,
  sink: IssueSink,
): readonly PolicySource[] {
  const main = readSource(bytes, file, options, sink);
  if (main === null) return [];
  const sources: PolicySource[] = [];
  const included = new Map<string, Place | null>([[file, null]]);
  const visit = (source: PolicySource, depth: number): void => {
    sources.push(source);
    const { document, log } = source;
    for (const [index, path] of (document.include ?? []).entries()) {
      const place = log.locate(joinPointer("/include", index));
      const content = options.files?.get(path);
      const problem = findProblem(path, content, included, depth);
      if (!included.has(path)) included.set(path, place);
      if (problem !== null) log.error(place, ...problem);
      else if (content !== undefined) {
        const next = readSource(content, path, options, sink);
        if (next === null) continue;
        checkKeys(next);
        visit(next, depth + 1);
      }
    }
  };
  visit(main, 1);
  return sources;
}

/** Returns why a file cannot be included, and what to do; null when it can. */
function findProblem(
  path: string,
  content: Uint8Array | undefined,
  included: ReadonlyMap<string, Place | null>,
  depth: number,
): readonly [message: string, remedy: string] | null {
  const earlier = included.get(path);
  if (earlier !== undefined) {
    const where = earlier === null ? "this is the policy itself" : `${earlier.file}:${earlier.line}`;
    return [`${quoteText(path)} is included already (${where})`, "include each file once"];
  }
  if (included.size > MAX_INCLUDED_FILES) {
    return [`more than ${MAX_INCLUDED_FILES} files are included`, "put some of them together"];
  }
  if (depth >= MAX_DEPTH) {
    return [`files include files more than ${MAX_DEPTH} deep`, "include it from the policy itself"];
  }
  if (content !== undefined) return null;
  return [`there is no file ${quoteText(path)}`, "add it to the repository; `clawgress sign` lists it in the lock"];
}

function readSource(bytes: Uint8Array, file: string, options: LoadOptions, sink: IssueSink): PolicySource | null {
  const report = (issues: readonly TextIssue[]): null => {
    for (const issue of issues) sink.add({ severity: "error", code: "POLICY_INVALID", ...issue });
    return null;
  };
  const { files: _files, texts, ...limits } = options;
  const again = rereadText(texts?.get(file), bytes, { ...limits, file });
  const text = again ?? parseJsonText(bytes, { ...limits, file });
  if (!text.ok) return report(text.issues);
  if (again === null && !validate(text.value)) return report(explainSchemaErrors(validate.errors, text.locate));
  texts?.set(file, { bytes, document: text });
  return { document: text.value as unknown as PolicyDocument, log: createIssueLog(text, sink) };
}

/** Longer lists are read whole, so that the schema says whether they are too long. */
const MAX_PATCHED_ITEMS = 500_000;

/** Of a text of which all but some names are known, these alone are looked at; they stand in a list of allowed names. */
function rereadText(known: KnownText | undefined, bytes: Uint8Array, options: JsonTextOptions): JsonDocument | null {
  if (known === undefined || bytes.length > Math.min(options.maxBytes ?? 0, HIGHEST_MAX_BYTES)) return null;
  const patched = patchJsonText(known, bytes, options);
  if (patched === null) return null;
  const { list, texts, count } = patched.patch;
  const isKnown = isNameList(list) && count <= MAX_PATCHED_ITEMS && validate({ version: 1, allow: { domains: texts } });
  return isKnown ? patched.document : null;
}

/** Returns whether the schema asks of a list's items what it asks of those of `allow.domains`. */
function isNameList([first, ...rest]: readonly string[]): boolean {
  if (rest.at(-1) !== "domains") return false;
  if (first === "allow") return rest.length === 1;
  return first === "groups" ? rest.length === 2 : first === "hosts" && rest.length === 3 && rest[1] === "allow";
}

function checkKeys({ document, log }: PolicySource): void {
  for (const key of Object.keys(document)) {
    if ((includable as ReadonlySet<string>).has(key)) continue;
    const remedy = "write it in the policy that includes this file";
    log.error(log.locate(joinPointer("", key), "key"), `${quoteText(key)} cannot stand in an included file`, remedy);
  }
}
