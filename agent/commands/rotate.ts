import { join } from "node:path";
import { AgentError, type Json } from "../errors.ts";
import { readFileBytes, replaceFile } from "../host/files.ts";
import { isWithin, openWorkTree } from "../host/work-tree.ts";
import { formatTextIssue } from "../policy/json-text.ts";
import { quoteText } from "../policy/parsed.ts";
import { describeRootChange } from "../trust/describe-root.ts";
import { parseRoot } from "../trust/parse-root.ts";
import { rootPath } from "../trust/root.ts";
import { parsePublicKey } from "../trust/ssh-key.ts";
import { loadNewestRoot } from "./load-root.ts";
import type { Output } from "./output.ts";

export interface RotateOptions {
  readonly repositoryFolder: string;
  /** `carol=carol.pub`: a new person with a key, or another key of somebody. */
  readonly principal?: readonly string[];
  /** People who leave. */
  readonly remove?: readonly string[];
  /** A .pub file or fingerprint whose signatures count nowhere any more. */
  readonly revoke?: readonly string[];
  /** Of the roles policy and root. */
  readonly threshold?: number;
  /** How many approve what lets nothing more through. */
  readonly tighten?: number;
  /** Who vouches that a state is the newest; the others of that role go. */
  readonly freshness?: readonly string[];
  /** Serials from this one on are void; with `restartSerial`. */
  readonly voidSerials?: number;
  readonly restartSerial?: number;
}

const MAX_KEY_BYTES = 32 * 1024;

/** The JSON of a root as it is changed; what is not named here stays as it is. */
interface RootDraft {
  root: number;
  principals: { [name: string]: { keys?: Json[]; [key: string]: Json | undefined } };
  roles: { policy: RoleDraft; root: RoleDraft; freshness?: RoleDraft };
  rules?: { principals: string[]; threshold: number; tighten?: number }[];
  revoked?: string[];
  serials?: { void: number; restart: number };
}

interface RoleDraft {
  principals: string[];
  threshold: number;
  tighten?: number;
}

/**
 * Writes the next root of trust into a working clone, changed as told, and says what to run next: it counts only when the
 * threshold of the root before it and its own have signed it. Returns 0. @throws AgentError USAGE, TRUST_ROOT_INVALID
 */
export async function rotate(options: RotateOptions, output: Output): Promise<number> {
  const folder = options.repositoryFolder;
  const current = await loadNewestRoot(openWorkTree(folder));
  const draft = JSON.parse(current.bytes.toString("utf8")) as RootDraft;
  draft.root = current.root.root + 1;
  for (const name of options.remove ?? []) removePrincipal(draft, name);
  for (const option of options.principal ?? []) await addKey(draft, option);
  for (const option of options.revoke ?? []) await revoke(draft, option);
  if (options.threshold !== undefined) {
    draft.roles.policy.threshold = options.threshold;
    draft.roles.root.threshold = options.threshold;
  }
  if (options.tighten !== undefined) draft.roles.policy.tighten = options.tighten;
  if (options.freshness !== undefined) draft.roles.freshness = { principals: [...options.freshness], threshold: 1 };
  const { voidSerials, restartSerial } = options;
  if (voidSerials !== undefined && restartSerial !== undefined)
    draft.serials = { void: voidSerials, restart: restartSerial };
  else if (voidSerials !== restartSerial) {
    throw new AgentError("USAGE", "--void-serials and --restart-serial belong together", { remedy: "give both" });
  }

  const path = rootPath(draft.root);
  const bytes = Buffer.from(`${JSON.stringify(draft, null, 2)}\n`);
  const parsed = parseRoot(bytes, path);
  if (!parsed.ok) {
    throw new AgentError("USAGE", parsed.issues.map(formatTextIssue).join("\n"), {
      remedy: "change the options so that enough people with keys remain",
    });
  }
  const changes = describeRootChange(current.root, parsed.root);
  if (await isWithin(folder, path)) throw new AgentError("USAGE", `${path} exists already`);
  await replaceFile(join(folder, path), bytes);
  output.line(`wrote ${path}:`);
  for (const line of changes) output.line(`  ${line}`);
  output.line("Next: read it, run `clawgress sign --root-of-trust`, and let those sign whom it names.");
  output.document({ root: draft.root, path, changes: [...changes] });
  return 0;
}

function removePrincipal(draft: RootDraft, name: string): void {
  if (!Object.hasOwn(draft.principals, name)) {
    throw new AgentError("USAGE", `there is no principal ${quoteText(name)}`, {
      remedy: `use one of ${Object.keys(draft.principals).join(", ")}`,
    });
  }
  delete draft.principals[name];
  const roles = [draft.roles.policy, draft.roles.root, draft.roles.freshness, ...(draft.rules ?? [])];
  for (const role of roles) if (role !== undefined) role.principals = role.principals.filter((one) => one !== name);
}

async function addKey(draft: RootDraft, option: string): Promise<void> {
  const [, name, path] = /^([^=]+)=(.+)$/s.exec(option) ?? [];
  if (name === undefined || path === undefined) {
    throw new AgentError("USAGE", `${quoteText(option)} is not of the form name=file.pub`);
  }
  const line = (await readFileBytes(path, MAX_KEY_BYTES)).toString("utf8").trim();
  const known = Object.hasOwn(draft.principals, name) ? draft.principals[name] : undefined;
  if (known !== undefined) {
    known.keys = [...(known.keys ?? []), line];
    return;
  }
  draft.principals[name] = { keys: [line] };
  for (const role of [draft.roles.policy, draft.roles.root]) role.principals.push(name);
}

/** A revoked key leaves its owner as well, unless it is the last: then the owner has to leave or get another. */
async function revoke(draft: RootDraft, option: string): Promise<void> {
  const fingerprint = option.startsWith("SHA256:") ? option : await readFingerprint(option);
  draft.revoked = [...new Set([...(draft.revoked ?? []), fingerprint])];
  for (const principal of Object.values(draft.principals)) {
    const rest = (principal.keys ?? []).filter((key) => fingerprintIn(key) !== fingerprint);
    if (rest.length > 0) principal.keys = rest;
  }
}

async function readFingerprint(path: string): Promise<string> {
  const parsed = parsePublicKey((await readFileBytes(path, MAX_KEY_BYTES)).toString("utf8").trim());
  if (parsed.ok) return parsed.value.fingerprint;
  throw new AgentError("USAGE", `${path} is no public key: ${parsed.why}`, {
    remedy: "name a .pub file or a fingerprint",
  });
}

function fingerprintIn(key: Json): string | null {
  const line = typeof key === "string" ? key : (key as { readonly key?: unknown } | null)?.key;
  const parsed = typeof line === "string" ? parsePublicKey(line) : null;
  return parsed?.ok === true ? parsed.value.fingerprint : null;
}
