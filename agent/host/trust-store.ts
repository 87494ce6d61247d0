import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { MAX_COMMIT_BYTES } from "../trust/commit-object.ts";
import { decodeEvidence, type Evidence, encodeEvidence } from "../trust/evidence.ts";
import { formatTime, parseTime } from "../trust/fields.ts";
import { digestOf, type Lock } from "../trust/lock.ts";
import { MAX_ROOT_BYTES } from "../trust/root.ts";
import { readFileIfAny, replaceFile } from "./files.ts";

/**
 * What a gateway keeps of the trust that it has followed, beside the pointers: the root, the approved locks with their
 * signatures, their files, and when commits were first seen. Everything but the times is checked when it is used, so a
 * damaged or missing file is only a file that has to be fetched again; a lost time makes the judgement stricter.
 */

const MODE = 0o600;
const MAX_EVIDENCE_BYTES = 8 * 1024 * 1024;
const MAX_FILE_BYTES = 64 * 1024 * 1024;
const MAX_SEEN_BYTES = 64 * 1024;
const MAX_KEPT_COMMIT_BYTES = 2 * MAX_COMMIT_BYTES;
const KEPT_COMMITS = 64;

/** Returns the bytes of the root that was followed last, or null. */
export async function readRememberedRoot(folder: string): Promise<Buffer | null> {
  return await readQuietly(join(folder, "root.json"), MAX_ROOT_BYTES);
}

/** Keeps the bytes of the root in force; durable when it returns. @throws AgentError HOST_FILE */
export async function rememberRoot(folder: string, bytes: Buffer): Promise<void> {
  await replaceFile(join(folder, "root.json"), bytes, MODE);
}

/** Returns what was kept of an approved lock, or null when it is missing or damaged. */
export async function readEvidence(folder: string, lockDigest: string): Promise<Evidence | null> {
  const bytes = await readQuietly(evidencePath(folder, lockDigest), MAX_EVIDENCE_BYTES);
  return bytes === null ? null : decodeEvidence(bytes, lockDigest);
}

/** Keeps an approved lock with its signatures; durable when it returns. @throws AgentError HOST_FILE */
export async function rememberEvidence(folder: string, evidence: Evidence): Promise<void> {
  await replaceFile(evidencePath(folder, evidence.lockDigest), encodeEvidence(evidence), MODE);
}

/** Returns the digests of the locks of which something is kept, sorted. */
export async function listEvidence(folder: string): Promise<readonly string[]> {
  const names = await readdir(join(folder, "locks")).catch(() => []);
  return names.flatMap((name) => /^([0-9a-f]{64})\.json$/.exec(name)?.[1] ?? []).sort();
}

/** Returns path → bytes of the files that a lock lists, or null when one is missing or damaged. */
export async function readKeptFiles(folder: string, files: Lock["files"]): Promise<ReadonlyMap<string, Buffer> | null> {
  const kept = new Map<string, Buffer>();
  for (const [path, digest] of Object.entries(files)) {
    const bytes = await readQuietly(join(folder, "files", digest), MAX_FILE_BYTES);
    if (bytes === null || digestOf(bytes) !== digest) return null;
    kept.set(path, bytes);
  }
  return kept;
}

/** Keeps files by their digests. @throws AgentError HOST_FILE */
export async function keepFiles(folder: string, files: Iterable<Buffer>): Promise<void> {
  for (const bytes of files) {
    const path = join(folder, "files", digestOf(bytes));
    if ((await readQuietly(path, MAX_FILE_BYTES))?.equals(bytes)) continue;
    await replaceFile(path, bytes, MODE);
  }
}

/** Removes every lock but the named ones, and every file but the named ones. */
export async function pruneTrust(
  folder: string,
  keep: { readonly locks: ReadonlySet<string>; readonly files: ReadonlySet<string> },
): Promise<void> {
  for (const digest of await listEvidence(folder)) {
    if (!keep.locks.has(digest)) await rm(evidencePath(folder, digest), { force: true });
  }
  for (const name of await readdir(join(folder, "files")).catch(() => [])) {
    if (!keep.files.has(name)) await rm(join(folder, "files", name), { force: true });
  }
}

/**
 * Returns when a commit was first seen, and notes it when that is now. What was noted by a clock that was ahead counts
 * as seen now. @throws AgentError HOST_FILE
 */
export async function noteFirstSeen(folder: string, commit: string, nowMs: number): Promise<number> {
  const path = join(folder, "first-seen.json");
  const seen = decodeSeen(await readQuietly(path, MAX_SEEN_BYTES));
  const knownMs = seen.get(commit);
  if (knownMs !== undefined) return Math.min(knownMs, nowMs);
  const newest = [...seen, [commit, nowMs] as const].slice(-KEPT_COMMITS);
  const lines = newest.map(([id, atMs]) => [id, formatTime(atMs)]);
  await replaceFile(path, `${JSON.stringify(Object.fromEntries(lines))}\n`, MODE);
  return nowMs;
}

/** A signed commit that was taken, kept to judge its signature again without the Git server. */
export interface KeptCommit {
  /** The commit object's content, fit to its name. */
  readonly raw: Buffer;
  /** When this gateway first saw it, in milliseconds since the epoch. */
  readonly seenAtMs: number;
}

/** Keeps a commit object, and drops the others but those named. @throws AgentError HOST_FILE */
export async function rememberCommit(
  folder: string,
  commit: string,
  { raw, seenAtMs }: KeptCommit,
  others: ReadonlySet<string>,
): Promise<void> {
  const line = JSON.stringify({ seenAt: formatTime(seenAtMs), commit: raw.toString("base64") });
  await replaceFile(commitPath(folder, commit), `${line}\n`, MODE);
  for (const name of await readdir(join(folder, "commits")).catch(() => [])) {
    const id = name.slice(0, 40);
    if (id !== commit && !others.has(id)) await rm(join(folder, "commits", name), { force: true });
  }
}

/** Returns what was kept of a commit, or null when it is missing or damaged. Whether it fits its name is the caller's to check. */
export async function readKeptCommit(folder: string, commit: string): Promise<KeptCommit | null> {
  const bytes = await readQuietly(commitPath(folder, commit), MAX_KEPT_COMMIT_BYTES);
  try {
    const { seenAt, commit: text } = JSON.parse(bytes?.toString("utf8") ?? "") as RawKeptCommit;
    const [raw, seenAtMs] = [Buffer.from(text, "base64"), parseTime(seenAt)];
    return seenAtMs === null ? null : { raw, seenAtMs };
  } catch {
    return null;
  }
}

interface RawKeptCommit {
  readonly seenAt: string;
  readonly commit: string;
}

/** Returns whether a folder exists and has anything in it. */
export async function hasEntries(folder: string): Promise<boolean> {
  return (await readdir(folder).catch(() => [])).length > 0;
}

function decodeSeen(bytes: Buffer | null): ReadonlyMap<string, number> {
  try {
    const entries = Object.entries(
      JSON.parse(bytes?.toString("utf8") ?? "{}") as { readonly [commit: string]: string },
    );
    return new Map(
      entries
        .flatMap(([commit, at]) => [[commit, parseTime(at) ?? Number.NaN] as const])
        .filter(([, at]) => !Number.isNaN(at)),
    );
  } catch {
    return new Map();
  }
}

function commitPath(folder: string, commit: string): string {
  return join(folder, "commits", `${commit}.json`);
}

function evidencePath(folder: string, lockDigest: string): string {
  return join(folder, "locks", `${lockDigest}.json`);
}

/** A bad sector, a folder in its place or a file that has grown is the same as a missing one. */
async function readQuietly(path: string, maxBytes: number): Promise<Buffer | null> {
  try {
    return await readFileIfAny(path, maxBytes);
  } catch {
    return null;
  }
}
