import type { Json } from "../errors.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import { joinPointer } from "../policy/json-pointer.ts";
import { quoteText } from "../policy/parsed.ts";
import type { FieldReader, JsonObject } from "./fields.ts";
import { principalRule } from "./names.ts";
import { MAX_OPENPGP_CHARACTERS, type OpenPgpKey, parseOpenPgpKey } from "./openpgp-key.ts";
import { MAX_AUTHORITIES, MAX_KEYS_PER_PRINCIPAL, MAX_PRINCIPALS, type Principal, type PrincipalKey } from "./root.ts";
import { parsePublicKey, type SshPublicKey } from "./ssh-key.ts";
import type { Certifier } from "./sshsig.ts";

const SOME_BASE64 = {
  pattern: new RegExp(`^[A-Za-z0-9+/=]{1,${MAX_OPENPGP_CHARACTERS}}$`),
  about: "a certificate in one line of base64",
};
const SOME_TEXT = { pattern: /^[\x20-\x7e]{1,8192}$/, about: "a line of printable ASCII" };
const identityRule = { pattern: /^[\x21-\x7e]{1,255}$/, about: "the name in a certificate, without spaces" };

type Authorities = ReadonlyMap<string, SshPublicKey>;

/** Returns the principals of a root, sorted by name; null, with issues, when there are none. */
export function parsePrincipals(
  value: Json | undefined,
  authorities: Json | undefined,
  fields: FieldReader,
): readonly Principal[] | null {
  const owners: Owners = new Map();
  const certifying = readAuthorities(authorities, owners, fields);
  const entries = fields.entries(value, "/principals", MAX_PRINCIPALS);
  if (entries === null) return null;
  const principals = entries.map(([name, entry]): Principal => {
    const pointer = joinPointer("/principals", name);
    if (!principalRule.pattern.test(name)) {
      fields.refuse(pointer, `${quoteText(name)} is not ${principalRule.about}`, "rename the principal", "key");
    }
    const object = fields.object(entry, pointer, { required: [], optional: ["keys", "certificates", "openpgp"] });
    if (object === null) return { name, keys: [], certifiers: [], openpgp: [] };
    if (Object.keys(object).length === 0) fields.refuse(pointer, `${quoteText(name)} has no "keys"`, 'add "keys"');
    return {
      name,
      keys: readKeys(object, { pointer: `${pointer}/keys`, name, owners }, fields),
      certifiers: readCertifiers(object, { pointer: `${pointer}/certificates`, name, owners }, certifying, fields),
      openpgp: readOpenPgpKeys(object, { pointer: `${pointer}/openpgp`, name, owners }, fields),
    };
  });
  return principals.sort((a, b) => compareTexts(a.name, b.name));
}

/** What identifies somebody → whose it is: fingerprints, and names under an authority. */
type Owners = Map<string, string>;

interface Claim {
  readonly name: string;
  readonly pointer: string;
  readonly owners: Owners;
}

function readAuthorities(value: Json | undefined, owners: Owners, fields: FieldReader): Authorities {
  const entries = value === undefined ? [] : (fields.entries(value, "/authorities", MAX_AUTHORITIES) ?? []);
  const authorities = new Map<string, SshPublicKey>();
  for (const [name, line] of entries) {
    const pointer = joinPointer("/authorities", name);
    if (!principalRule.pattern.test(name)) {
      fields.refuse(pointer, `${quoteText(name)} is not ${principalRule.about}`, "rename the authority", "key");
    }
    const key = readKey(line, pointer, fields);
    if (key === null) continue;
    claim(key.fingerprint, `the key ${key.fingerprint}`, { name: `authority ${name}`, pointer, owners }, fields);
    authorities.set(name, key);
  }
  return authorities;
}

function readKeys(object: JsonObject, who: Claim, fields: FieldReader): readonly PrincipalKey[] {
  if (!Object.hasOwn(object, "keys")) return [];
  const lines = fields.list(object["keys"], who.pointer, MAX_KEYS_PER_PRINCIPAL) ?? [];
  return lines.flatMap((line, index) => {
    const pointer = `${who.pointer}/${index}`;
    const key = readDatedKey(line, pointer, fields);
    if (key === null) return [];
    claim(key.fingerprint, `the key ${key.fingerprint}`, { ...who, pointer }, fields);
    return [key];
  });
}

function readDatedKey(value: Json, pointer: string, fields: FieldReader): PrincipalKey | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const key = readKey(value, pointer, fields);
    return key === null ? null : { ...key, expiresAtMs: null };
  }
  const object = fields.object(value, pointer, { required: ["key", "expires"] });
  if (object === null) return null;
  const key = readKey(object["key"], `${pointer}/key`, fields);
  const expiresAtMs = fields.time(object["expires"], `${pointer}/expires`);
  return key === null || expiresAtMs === null ? null : { ...key, expiresAtMs };
}

function readKey(line: Json | undefined, pointer: string, fields: FieldReader): SshPublicKey | null {
  const text = fields.text(line, pointer, SOME_TEXT);
  if (text === null) return null;
  const parsed = parsePublicKey(text);
  if (parsed.ok) return parsed.value;
  return fields.refuse(pointer, `the key is refused: ${parsed.why}`, "paste the one line of the .pub file");
}

function readCertifiers(
  object: JsonObject,
  who: Claim,
  authorities: Authorities,
  fields: FieldReader,
): readonly Certifier[] {
  if (!Object.hasOwn(object, "certificates")) return [];
  const listed = fields.list(object["certificates"], who.pointer, MAX_KEYS_PER_PRINCIPAL) ?? [];
  return listed.flatMap((value, index) => {
    const pointer = `${who.pointer}/${index}`;
    const entry = fields.object(value, pointer, { required: ["authority", "identity"] });
    if (entry === null) return [];
    const named = fields.text(entry["authority"], `${pointer}/authority`, principalRule);
    const identity = fields.text(entry["identity"], `${pointer}/identity`, identityRule);
    if (named === null || identity === null) return [];
    const authority = authorities.get(named);
    if (authority === undefined) {
      fields.refuse(`${pointer}/authority`, `there is no authority ${quoteText(named)}`, "add it under `authorities`");
      return [];
    }
    claim(`${named} ${identity}`, `the name ${quoteText(identity)} of ${named}`, { ...who, pointer }, fields);
    return [{ authority, identity }];
  });
}

function readOpenPgpKeys(object: JsonObject, who: Claim, fields: FieldReader): readonly OpenPgpKey[] {
  if (!Object.hasOwn(object, "openpgp")) return [];
  const blocks = fields.list(object["openpgp"], who.pointer, MAX_KEYS_PER_PRINCIPAL) ?? [];
  return blocks.flatMap((block, index) => {
    const pointer = `${who.pointer}/${index}`;
    const text = fields.text(block, pointer, SOME_BASE64);
    if (text === null) return [];
    const parsed = parseOpenPgpKey(text);
    if (!parsed.ok) {
      const remedy = "paste what `gpg --export KEY | base64 -w0` prints";
      fields.refuse(pointer, `the OpenPGP key is refused: ${parsed.why}`, remedy);
      return [];
    }
    const { fingerprint } = parsed.value;
    claim(fingerprint, `the key ${fingerprint}`, { ...who, pointer }, fields);
    return [parsed.value];
  });
}

/** One key or certified name for two principals would let one person be counted twice. */
function claim(what: string, text: string, { name, pointer, owners }: Claim, fields: FieldReader): void {
  const owner = owners.get(what);
  if (owner !== undefined) {
    const message = `${text} stands here and at the principal ${quoteText(owner)}`;
    fields.refuse(pointer, message, "give each principal keys of its own, each once");
  }
  owners.set(what, name);
}
