import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { AgentError } from "../errors.ts";
import { readFileIfAny, replaceFile } from "../host/files.ts";
import { compareTexts } from "../policy/compare-texts.ts";

/** What a key may do: look; change the policy; make the agent work (polls). Each includes those before it. */
export const scopes = ["read", "propose", "operate"] as const;
export type Scope = (typeof scopes)[number];

/** A key as it is kept: what it looks like is known to its holder alone. */
export interface ApiKey {
  readonly name: string;
  readonly scope: Scope;
  /** SHA-256 of the key in hex. The key has 256 random bits, so a slow hash would add nothing. */
  readonly sha256: string;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
}

const MAX_KEYS = 1_000;
const MAX_FILE_BYTES = 1024 * 1024;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$/;
/** The API's user reads it; a hash of 256 random bits opens nothing. */
const MODE = 0o644;

/** Returns the keys in a file, sorted by name; none when there is no file. @throws AgentError STATE_CORRUPT */
export async function readApiKeys(path: string): Promise<readonly ApiKey[]> {
  const bytes = await readFileIfAny(path, MAX_FILE_BYTES);
  if (bytes === null) return [];
  const keys = parseKeys(bytes.toString("utf8"));
  if (keys !== null) return keys;
  throw new AgentError("STATE_CORRUPT", `${path} is damaged: no key is accepted`, {
    remedy: "remove the file and make the keys anew with `clawgress key add NAME`",
  });
}

function parseKeys(text: string): readonly ApiKey[] | null {
  try {
    const { version, keys } = JSON.parse(text) as { readonly version?: unknown; readonly keys?: unknown };
    return version === 1 && Array.isArray(keys) && keys.every(isKey) ? keys : null;
  } catch {
    return null;
  }
}

function isKey(value: unknown): value is ApiKey {
  const { name, scope, sha256, createdAt } = (value ?? {}) as { readonly [field: string]: unknown };
  const isNamed = typeof name === "string" && NAME.test(name) && scopes.includes(scope as Scope);
  return isNamed && typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256) && typeof createdAt === "string";
}

/** Returns a new key, which is not kept anywhere, after adding its hash to the file. @throws AgentError USAGE, STATE_CORRUPT, HOST_FILE */
export async function addApiKey(path: string, name: string, scope: Scope, createdAt: string): Promise<string> {
  const keys = await readApiKeys(path);
  if (!NAME.test(name)) {
    throw new AgentError("USAGE", `${JSON.stringify(name.slice(0, 80))} is no name for a key`, {
      remedy: "use 1 to 63 letters, digits, dots, underscores, hyphens and @",
    });
  }
  if (keys.some((key) => key.name === name)) {
    throw new AgentError("USAGE", `there is a key named ${name} already`, {
      remedy: `give it another name, or remove the old one with \`clawgress key remove ${name}\``,
    });
  }
  if (keys.length >= MAX_KEYS) throw new AgentError("USAGE", `there are ${keys.length} keys already`);
  const secret = `clawgress_${randomBytes(32).toString("base64url")}`;
  await writeKeys(path, [...keys, { name, scope, sha256: digestOf(secret).toString("hex"), createdAt }]);
  return secret;
}

/** Removes a key; it is refused from then on. @throws AgentError USAGE when there is none of that name */
export async function removeApiKey(path: string, name: string): Promise<void> {
  const keys = await readApiKeys(path);
  if (!keys.some((key) => key.name === name)) {
    throw new AgentError("USAGE", `there is no key named ${JSON.stringify(name.slice(0, 80))}`, {
      remedy: "see `clawgress key list`",
    });
  }
  await writeKeys(
    path,
    keys.filter((key) => key.name !== name),
  );
}

async function writeKeys(path: string, keys: readonly ApiKey[]): Promise<void> {
  const sorted = [...keys].sort((a, b) => compareTexts(a.name, b.name));
  await replaceFile(path, `${JSON.stringify({ version: 1, keys: sorted }, null, 2)}\n`, MODE);
}

/** Returns the key that a caller shows, or null. Every key is compared whole, so that the time tells nothing of any. */
export function findApiKey(keys: readonly ApiKey[], shown: string): ApiKey | null {
  const digest = digestOf(shown);
  let found: ApiKey | null = null;
  for (const key of keys) if (timingSafeEqual(digest, Buffer.from(key.sha256, "hex"))) found = key;
  return found;
}

/** Returns whether a key of one scope may do what needs another. */
export function mayDo(scope: Scope, needed: Scope): boolean {
  return scopes.indexOf(scope) >= scopes.indexOf(needed);
}

function digestOf(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
