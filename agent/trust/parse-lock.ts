import type { Json } from "../errors.ts";
import { joinPointer } from "../policy/json-pointer.ts";
import { parseJsonText, type TextIssue } from "../policy/json-text.ts";
import { quoteText } from "../policy/parsed.ts";
import { type FieldReader, readFields } from "./fields.ts";
import { LOCK_PATH, type Lock, MAX_LOCK_BYTES, MAX_LOCK_FILES, refusePath, renderLock } from "./lock.ts";
import { branchRule, nameRule, principalRule, sha256Rule } from "./names.ts";

export type LockResult =
  | { readonly ok: true; readonly lock: Lock }
  | { readonly ok: false; readonly issues: readonly TextIssue[] };

/**
 * Returns the lock in the bytes, or every reason why there is none. The bytes must be exactly what `renderLock` gives:
 * a lock has one spelling, so nothing in it can hide from a reviewer and no tool can have touched its line ends.
 */
export function parseLock(bytes: Buffer, file = LOCK_PATH): LockResult {
  const document = parseJsonText(bytes, { file, maxBytes: MAX_LOCK_BYTES, maxDepth: 2 });
  if (!document.ok) return document;
  const fields = readFields(document);
  const lock = readLock(document.value, fields);
  if (lock === null || fields.issues.length > 0) return { ok: false, issues: fields.issues };
  const canonical = renderLock(lock);
  if (canonical.equals(bytes)) return { ok: true, lock };
  const place = { file, ...firstDifference(bytes, canonical), pointer: "" };
  const message = "the lock is not written the way `clawgress sign` writes it";
  return { ok: false, issues: [{ place, message, remedy: "run `clawgress sign`; do not edit or reformat the lock" }] };
}

function readLock(value: Json, fields: FieldReader): Lock | null {
  const required = ["version", "repository", "branch", "group", "serial", "files"];
  const object = fields.object(value, "", { required, optional: ["part"] });
  if (object === null) return null;
  const version = fields.integer(object["version"], "/version", 1, 1);
  const repository = fields.text(object["repository"], "/repository", nameRule);
  const branch = fields.text(object["branch"], "/branch", branchRule);
  const group = fields.text(object["group"], "/group", nameRule);
  const part = Object.hasOwn(object, "part") ? fields.text(object["part"], "/part", principalRule) : undefined;
  const serial = fields.integer(object["serial"], "/serial", 1, Number.MAX_SAFE_INTEGER);
  const files = readFiles(object["files"], fields);
  if (version === null || repository === null || branch === null || group === null || serial === null) return null;
  if (files === null || part === null) return null;
  return { version: 1, repository, branch, group, ...(part === undefined ? {} : { part }), serial, files };
}

function readFiles(value: Json | undefined, fields: FieldReader): Lock["files"] | null {
  const entries = fields.entries(value, "/files", MAX_LOCK_FILES);
  if (entries === null) return null;
  const files: Record<string, string> = Object.create(null);
  const folded = new Map<string, string>();
  for (const [path, digest] of entries) {
    const pointer = joinPointer("/files", path);
    const why = refusePath(path) ?? clashWith(folded.get(path.toLowerCase()));
    if (why !== null)
      fields.refuse(pointer, `${quoteText(path)} is no path for a lock: ${why}`, "rename the file", "key");
    folded.set(path.toLowerCase(), path);
    const text = fields.text(digest, pointer, sha256Rule);
    if (text !== null) files[path] = text;
  }
  return files;
}

function clashWith(other: string | undefined): string | null {
  return other === undefined ? null : `it differs from ${quoteText(other)} only in capitals`;
}

function firstDifference(bytes: Buffer, canonical: Buffer): { line: number; column: number } {
  let offset = 0;
  while (offset < bytes.length && bytes[offset] === canonical[offset]) offset += 1;
  const before = bytes.subarray(0, offset).toString("latin1");
  return { line: before.split("\n").length, column: offset - before.lastIndexOf("\n") };
}
