import { readFileIfAny, replaceFile } from "../host/files.ts";

/** A release that was rolled back: never tried again by itself, whatever commit carries it. */
export interface BadRelease {
  readonly digest: string;
  readonly commit: string;
  readonly serial: number;
  readonly reason: string;
  /** ISO 8601, UTC. */
  readonly at: string;
}

const MAX_REMEMBERED = 100;
const MAX_FILE_BYTES = 1024 * 1024;

/**
 * Returns the remembered bad releases, oldest first. A damaged file counts as empty: forgetting costs one more rollback,
 * refusing would stop every update.
 */
export async function readBadReleases(path: string): Promise<readonly BadRelease[]> {
  const bytes = await readFileIfAny(path, MAX_FILE_BYTES);
  if (bytes === null) return [];
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8"));
    return Array.isArray(value) ? (value as BadRelease[]) : [];
  } catch {
    return [];
  }
}

/** Remembers a bad release, durably; the oldest beyond a hundred are forgotten. */
export async function rememberBadRelease(path: string, bad: BadRelease): Promise<void> {
  const others = (await readBadReleases(path)).filter((entry) => entry.digest !== bad.digest);
  await replaceFile(path, `${JSON.stringify([...others, bad].slice(-MAX_REMEMBERED), null, 2)}\n`);
}
