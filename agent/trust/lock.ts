import { createHash } from "node:crypto";
import { compareTexts } from "../policy/compare-texts.ts";

/** `clawgress.lock.json`: what was approved. The signatures are over its exact bytes. */
export interface Lock {
  readonly version: 1;
  readonly repository: string;
  readonly branch: string;
  readonly group: string;
  /** The rule of the root whose lock it is; missing in the common one. */
  readonly part?: string;
  /** 1 to 2^53 - 1; each approved state has a higher one than the state before it. */
  readonly serial: number;
  /** path → SHA-256 in hex, of every policy file. */
  readonly files: { readonly [path: string]: string };
}
export const LOCK_PATH = "clawgress.lock.json";
/** Where rules of the root that have a lock of their own keep it: `locks/<rule>.json`. */
const LOCKS_FOLDER = "locks";
export const MAX_LOCK_FILES = 1000;
/** 1,000 paths of 255 bytes with their digests fit. */
export const MAX_LOCK_BYTES = 512 * 1024;

/** Returns the path of the lock of a rule; of the common one for null. */
export function lockPath(part: string | null): string {
  return part === null ? LOCK_PATH : `${LOCKS_FOLDER}/${part}.json`;
}

/**
 * Returns the one spelling of a lock: two spaces, keys in a fixed order, paths in byte order, a newline at the end.
 * It is written by hand because JSON.stringify moves keys that look like numbers to the front.
 */
export function renderLock(lock: Lock): Buffer {
  const paths = Object.keys(lock.files).sort(compareTexts);
  const files = paths.map((path) => `    ${JSON.stringify(path)}: ${JSON.stringify(lock.files[path])}`);
  const lines = [
    "{",
    `  "version": ${lock.version},`,
    `  "repository": ${JSON.stringify(lock.repository)},`,
    `  "branch": ${JSON.stringify(lock.branch)},`,
    `  "group": ${JSON.stringify(lock.group)},`,
    ...(lock.part === undefined ? [] : [`  "part": ${JSON.stringify(lock.part)},`]),
    `  "serial": ${lock.serial},`,
    '  "files": {',
    files.join(",\n"),
    "  }",
    "}",
    "",
  ];
  return Buffer.from(lines.join("\n"));
}

/** Returns the SHA-256 of bytes in lower-case hex: the digest of a lock, or of a file that a lock lists. */
export function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Returns why a path may not stand in a lock, or null when it may. The rules hold on every file system. */
export function refusePath(path: string): string | null {
  if (path.length === 0 || path.length > 255) return "it does not have 1 to 255 characters";
  if (!/^[\x20-\x7e]*$/.test(path)) return "it has characters other than printable ASCII";
  if (/[\\:*?"<>|]/.test(path)) return 'it has one of \\ : * ? " < > |';
  const segments = path.split("/");
  if (segments.some((segment) => segment === "")) return "it starts or ends with a slash, or has two in a row";
  if (segments.some((segment) => segment === "." || segment === "..")) return "it has a step . or ..";
  if (segments.some((segment) => /^\s|[\s.]$/.test(segment)))
    return "a step of it starts or ends with a space, or ends with a dot";
  if (segments.some((segment) => /^(?:\.git|git~[0-9]+)$/i.test(segment))) return "it leads into Git's own folder";
  const [first = ""] = segments;
  if (/^(?:approvals|locks|trust)$/i.test(first)) return `${first}/ has rules of its own and is never listed`;
  if (path.toLowerCase() === LOCK_PATH) return "the lock cannot list itself";
  return null;
}
