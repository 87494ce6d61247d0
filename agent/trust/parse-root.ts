import type { Json } from "../errors.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import { joinPointer } from "../policy/json-pointer.ts";
import { parseJsonText, type TextIssue } from "../policy/json-text.ts";
import { quoteText } from "../policy/parsed.ts";
import { type FieldReader, readFields } from "./fields.ts";
import { nameRule, principalRule } from "./names.ts";
import { MAX_OPENPGP_CHARACTERS, type OpenPgpKey, parseOpenPgpKey } from "./openpgp-key.ts";
import {
  MAX_KEYS_PER_PRINCIPAL,
  MAX_PRINCIPALS,
  MAX_ROOT_BYTES,
  type Principal,
  type Role,
  type Root,
} from "./root.ts";
import { parsePublicKey, type SshPublicKey } from "./ssh-key.ts";

export type RootResult =
  | { readonly ok: true; readonly root: Root }
  | { readonly ok: false; readonly issues: readonly TextIssue[] };

const SOME_BASE64 = {
  pattern: new RegExp(`^[A-Za-z0-9+/=]{1,${MAX_OPENPGP_CHARACTERS}}$`),
  about: "a certificate in one line of base64",
};
const SOME_TEXT = { pattern: /^[\x20-\x7e]{1,8192}$/, about: "a line of printable ASCII" };

/**
 * Returns the root of trust in the bytes, or every reason why there is none. What could make it weaker than it looks
 * is refused when it is read: a threshold below 1 or out of reach, a principal without keys, one key for two
 * principals, a role that names somebody unknown or somebody twice, key types that are not understood.
 */
export function parseRoot(bytes: Buffer, file: string): RootResult {
  const document = parseJsonText(bytes, { file, maxBytes: MAX_ROOT_BYTES, maxDepth: 8 });
  if (!document.ok) return document;
  const fields = readFields(document);
  const root = readRoot(document.value, fields);
  return root === null || fields.issues.length > 0 ? { ok: false, issues: fields.issues } : { ok: true, root };
}

function readRoot(value: Json, fields: FieldReader): Root | null {
  const required = ["version", "root", "repository", "principals", "roles"];
  const object = fields.object(value, "", { required, optional: ["$schema"] });
  if (object === null) return null;
  const version = fields.integer(object["version"], "/version", 1, 1);
  const number = fields.integer(object["root"], "/root", 1, 999_999_999);
  const repository = fields.text(object["repository"], "/repository", nameRule);
  const principals = readPrincipals(object["principals"], fields);
  const roles = readRoles(object["roles"], principals ?? [], fields);
  if (version === null || number === null || repository === null || principals === null || roles === null) return null;
  return { version: 1, root: number, repository, principals, roles };
}

function readPrincipals(value: Json | undefined, fields: FieldReader): readonly Principal[] | null {
  const entries = fields.entries(value, "/principals", MAX_PRINCIPALS);
  if (entries === null) return null;
  const owners = new Map<string, string>();
  const principals = entries.map(([name, entry]) => {
    const pointer = joinPointer("/principals", name);
    if (!principalRule.pattern.test(name)) {
      fields.refuse(pointer, `${quoteText(name)} is not ${principalRule.about}`, "rename the principal", "key");
    }
    const object = fields.object(entry, pointer, { required: ["keys"], optional: ["openpgp"] });
    const lines = object === null ? null : fields.list(object["keys"], `${pointer}/keys`, MAX_KEYS_PER_PRINCIPAL);
    const keys = (lines ?? []).flatMap((line, index) => {
      const key = readKey(line, `${pointer}/keys/${index}`, fields);
      return key === null ? [] : [claimKey(key, { name, pointer: `${pointer}/keys/${index}`, owners }, fields)];
    });
    return { name, keys, openpgp: readOpenPgpKeys(object?.["openpgp"], { name, pointer, owners }, fields) };
  });
  return principals.sort((a, b) => compareTexts(a.name, b.name));
}

function readKey(line: Json, pointer: string, fields: FieldReader): SshPublicKey | null {
  const text = fields.text(line, pointer, SOME_TEXT);
  if (text === null) return null;
  const parsed = parsePublicKey(text);
  if (parsed.ok) return parsed.value;
  return fields.refuse(pointer, `the key is refused: ${parsed.why}`, "paste the one line of the .pub file");
}

function readOpenPgpKeys(
  value: Json | undefined,
  { name, pointer, owners }: Claim,
  fields: FieldReader,
): readonly OpenPgpKey[] {
  if (value === undefined) return [];
  const blocks = fields.list(value, `${pointer}/openpgp`, MAX_KEYS_PER_PRINCIPAL) ?? [];
  return blocks.flatMap((block, index) => {
    const at = `${pointer}/openpgp/${index}`;
    const text = fields.text(block, at, SOME_BASE64);
    if (text === null) return [];
    const parsed = parseOpenPgpKey(text);
    if (parsed.ok) return [claimKey(parsed.value, { name, pointer: at, owners }, fields)];
    fields.refuse(at, `the OpenPGP key is refused: ${parsed.why}`, "paste what `gpg --export KEY | base64 -w0` prints");
    return [];
  });
}

interface Claim {
  readonly name: string;
  readonly pointer: string;
  /** Fingerprint → principal, of the keys read so far. */
  readonly owners: Map<string, string>;
}

/** One key for two principals would let one person be counted twice. */
function claimKey<Key extends { readonly fingerprint: string }>(
  key: Key,
  { name, pointer, owners }: Claim,
  fields: FieldReader,
): Key {
  const owner = owners.get(key.fingerprint);
  if (owner !== undefined) {
    const message = `the key ${key.fingerprint} stands here and at the principal ${quoteText(owner)}`;
    fields.refuse(pointer, message, "give each principal keys of its own, each once");
  }
  owners.set(key.fingerprint, name);
  return key;
}

function readRoles(
  value: Json | undefined,
  principals: readonly Principal[],
  fields: FieldReader,
): Root["roles"] | null {
  const object = fields.object(value, "/roles", { required: ["policy", "root"], optional: ["freshness"] });
  if (object === null) return null;
  const names = new Set(principals.map((principal) => principal.name));
  const policy = readRole(object["policy"], "/roles/policy", names, fields);
  const root = readRole(object["root"], "/roles/root", names, fields);
  const freshness = Object.hasOwn(object, "freshness")
    ? readRole(object["freshness"], "/roles/freshness", names, fields)
    : null;
  return policy === null || root === null ? null : { policy, root, freshness };
}

function readRole(
  value: Json | undefined,
  pointer: string,
  names: ReadonlySet<string>,
  fields: FieldReader,
): Role | null {
  const object = fields.object(value, pointer, { required: ["principals", "threshold"] });
  if (object === null) return null;
  const listed = fields.list(object["principals"], `${pointer}/principals`, MAX_PRINCIPALS);
  if (listed === null) return null;
  const seen = new Set<string>();
  for (const [index, entry] of listed.entries()) {
    const at = `${pointer}/principals/${index}`;
    const name = fields.text(entry, at, principalRule);
    if (name === null) continue;
    if (seen.has(name)) fields.refuse(at, `${quoteText(name)} stands twice`, "name each principal once");
    if (!names.has(name)) fields.refuse(at, `there is no principal ${quoteText(name)}`, "add it under `principals`");
    seen.add(name);
  }
  const threshold = fields.integer(object["threshold"], `${pointer}/threshold`, 1, listed.length);
  return threshold === null ? null : { principals: [...seen].sort(compareTexts), threshold };
}
