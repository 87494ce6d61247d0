import type { Json } from "../errors.ts";
import { parseJsonText, type TextIssue } from "../policy/json-text.ts";
import { type FieldReader, readFields } from "./fields.ts";
import { nameRule } from "./names.ts";
import { parsePrincipals } from "./parse-principals.ts";
import { parseRole, parseRules, type RoleContext } from "./parse-roles.ts";
import { isUsable, MAX_REVOKED, MAX_ROOT_BYTES, type Root } from "./root.ts";

export type RootResult =
  | { readonly ok: true; readonly root: Root }
  | { readonly ok: false; readonly issues: readonly TextIssue[] };

const fingerprintRule = {
  pattern: /^SHA256:[A-Za-z0-9+/]{43}$/,
  about: "a fingerprint as `ssh-keygen -l` prints it, SHA256: and 43 characters",
};

/**
 * Returns the root of trust in the bytes, or every reason why there is none. What could make it weaker than it looks
 * is refused when it is read: a threshold below 1 or out of reach of those whose keys are not revoked, a principal without
 * keys, one key for two principals, a role that names somebody unknown or somebody twice, key types that are not
 * understood.
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
  const optional = ["$schema", "authorities", "revoked", "rules", "serials"];
  const object = fields.object(value, "", { required, optional });
  if (object === null) return null;
  const version = fields.integer(object["version"], "/version", 1, 1);
  const number = fields.integer(object["root"], "/root", 1, 999_999_999);
  const repository = fields.text(object["repository"], "/repository", nameRule);
  const principals = parsePrincipals(object["principals"], object["authorities"], fields);
  const revoked = readRevoked(object["revoked"], fields);
  const context: RoleContext = {
    names: new Set((principals ?? []).map(({ name }) => name)),
    usable: new Set((principals ?? []).filter((principal) => isUsable(principal, revoked)).map(({ name }) => name)),
  };
  const roles = readRoles(object["roles"], context, fields);
  const rules = parseRules(object["rules"], context, fields);
  const serials = Object.hasOwn(object, "serials") ? readSerials(object["serials"], fields) : null;
  if (version === null || number === null || repository === null || principals === null || roles === null) return null;
  return { version: 1, root: number, repository, principals, roles, rules, revoked, serials };
}

function readRevoked(value: Json | undefined, fields: FieldReader): ReadonlySet<string> {
  const listed = value === undefined ? [] : (fields.list(value, "/revoked", MAX_REVOKED) ?? []);
  const texts = listed.map((entry, index) => fields.text(entry, `/revoked/${index}`, fingerprintRule));
  return new Set(texts.filter((text) => text !== null));
}

function readRoles(value: Json | undefined, context: RoleContext, fields: FieldReader): Root["roles"] | null {
  const object = fields.object(value, "/roles", { required: ["policy", "root"], optional: ["freshness"] });
  if (object === null) return null;
  const policy = parseRole(object["policy"], "/roles/policy", context, fields, ["tighten"]);
  const root = parseRole(object["root"], "/roles/root", context, fields);
  const freshness = Object.hasOwn(object, "freshness")
    ? parseRole(object["freshness"], "/roles/freshness", context, fields)
    : null;
  return policy === null || root === null ? null : { policy, root, freshness };
}

/**
 * Serials from `void` on count nowhere, and a gateway that has verified one goes back to `restart`: the way out when
 * those who should not have drove them up. As it stands in a root, only the threshold of the role root can write it.
 */
function readSerials(value: Json | undefined, fields: FieldReader): Root["serials"] {
  const object = fields.object(value, "/serials", { required: ["void", "restart"] });
  if (object === null) return null;
  const from = fields.integer(object["void"], "/serials/void", 2, Number.MAX_SAFE_INTEGER);
  const restart = fields.integer(object["restart"], "/serials/restart", 0, Math.max(0, (from ?? 1) - 1));
  return from === null || restart === null ? null : { void: from, restart };
}
