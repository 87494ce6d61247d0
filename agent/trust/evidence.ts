import type { Json } from "../errors.ts";
import { formatTime, parseTime } from "./fields.ts";
import { digestOf } from "./lock.ts";
import type { Requirement } from "./requirements.ts";

/**
 * What a gateway keeps of an approved lock, to judge it again without the Git server: when a key is revoked, and to know
 * which signatures it saw before a key ended. All of it can be checked: the lock by its digest, the signatures by keys.
 */
export interface Evidence {
  readonly lockDigest: string;
  /** The rule whose lock it is; null: the common one. */
  readonly part: string | null;
  readonly lockBytes: Buffer;
  /** Who had to approve it; by names, as roots change. */
  readonly needs: readonly Pick<Requirement, "rule" | "tightens">[];
  readonly signatures: ReadonlyMap<string, SeenSignature>;
}

export interface SeenSignature {
  readonly bytes: Buffer;
  /** When this gateway first saw it, in milliseconds since the epoch. */
  readonly seenAtMs: number;
}

const VERSION = 1;

/** Returns the bytes of a file that holds the evidence. */
export function encodeEvidence({ part, lockBytes, needs, signatures }: Evidence): Buffer {
  const seen: { [name: string]: Json } = {};
  for (const [name, { bytes, seenAtMs }] of signatures) {
    seen[name] = { seenAt: formatTime(seenAtMs), signature: bytes.toString("base64") };
  }
  const lock = lockBytes.toString("base64");
  const wanted = needs.map(({ rule, tightens }) => ({ rule, tightens }));
  return Buffer.from(`${JSON.stringify({ version: VERSION, part, lock, needs: wanted, signatures: seen })}\n`);
}

/** Returns the evidence in the bytes, or null when it is damaged or not of the lock with that digest. */
export function decodeEvidence(bytes: Buffer, lockDigest: string): Evidence | null {
  try {
    const { version, part, lock, needs, signatures } = JSON.parse(bytes.toString("utf8")) as RawEvidence;
    const lockBytes = Buffer.from(lock, "base64");
    if (version !== VERSION || digestOf(lockBytes) !== lockDigest) return null;
    const seen = Object.entries(signatures).map(([name, { seenAt, signature }]) => {
      const seenAtMs = parseTime(seenAt);
      if (seenAtMs === null) throw new RangeError("no time");
      return [name, { seenAtMs, bytes: Buffer.from(signature, "base64") }] as const;
    });
    const wanted = needs.map(({ rule, tightens }) => ({ rule: String(rule), tightens: tightens === true }));
    return {
      lockDigest,
      part: part === null ? null : String(part),
      lockBytes,
      needs: wanted,
      signatures: new Map(seen),
    };
  } catch {
    // Not JSON, or not of this shape: damaged, which is the same as not there.
    return null;
  }
}

interface RawEvidence {
  readonly version: unknown;
  readonly part: string | null;
  readonly lock: string;
  readonly needs: readonly { readonly rule: string; readonly tightens: boolean }[];
  readonly signatures: { readonly [name: string]: { readonly seenAt: string; readonly signature: string } };
}

/**
 * Returns when a gateway first saw a principal's signature of a lock: when it kept the same bytes, the time with them,
 * else the time at which it first saw the commit that carries it.
 */
export function seenAtOf(
  evidence: Evidence | null,
  signatures: ReadonlyMap<string, Buffer>,
  commitSeenAtMs: number,
): (principal: string) => number {
  return (principal) => {
    const kept = evidence?.signatures.get(principal);
    const bytes = signatures.get(principal);
    return kept !== undefined && bytes?.equals(kept.bytes) ? Math.min(kept.seenAtMs, commitSeenAtMs) : commitSeenAtMs;
  };
}
