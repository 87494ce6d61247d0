import { formatTextIssue } from "../policy/json-text.ts";
import { type Count, countApprovals, type Judge } from "./approvals.ts";
import { digestOf } from "./lock.ts";
import { parseRoot } from "./parse-root.ts";
import { type Role, type Root, rootPath } from "./root.ts";

/** What approvals of a root are signed for: `ssh-keygen -Y sign -n clawgress-root@v1`. */
export const ROOT_NAMESPACE = "clawgress-root@v1";

/** A root with the digest of the bytes that it was read from. */
export interface RootInForce {
  readonly root: Root;
  /** SHA-256 in hex. */
  readonly digest: string;
  readonly bytes: Buffer;
}

/** Returns the root in the bytes with its digest, or the issues for which there is none. */
export function openRoot(bytes: Buffer, file: string): RootInForce | { readonly issues: readonly string[] } {
  const parsed = parseRoot(bytes, file);
  if (parsed.ok) return { root: parsed.root, digest: digestOf(bytes), bytes };
  return { issues: parsed.issues.map(formatTextIssue) };
}

/**
 * Returns the file of a principal's approval of a root, judged by the root `by`: the one before it, or itself. Somebody
 * whose keys change has one for each.
 */
export function rootApprovalPath(root: number, by: number, principal: string): string {
  return `trust/${root}/by-${by}/${principal}.sig`;
}

/** Signatures of one root, each principal → file. */
export interface RootSignatures {
  readonly byOld: ReadonlyMap<string, Buffer>;
  readonly byNew: ReadonlyMap<string, Buffer>;
}

export interface NextRootInput extends RootSignatures {
  readonly current: Root;
  /** The bytes of the root with the next number. */
  readonly bytes: Buffer;
  readonly judge: Judge;
}

export type NextRoot =
  | { readonly ok: true; readonly next: RootInForce }
  | { readonly ok: false; readonly message: string; readonly remedy: string };

/**
 * Returns the next root of the chain when the thresholds of the current root and of itself approved its exact bytes,
 * else why it does not follow. By the old one alone a mistake could hand everything to keys that nobody holds; by the
 * new one alone anybody could.
 */
export function verifyNextRoot({ current, bytes, byOld, byNew, judge }: NextRootInput): NextRoot {
  const number = current.root + 1;
  const path = rootPath(number);
  const opened = openRoot(bytes, path);
  if ("issues" in opened) {
    return {
      ok: false,
      message: opened.issues[0] ?? `${path} is malformed`,
      remedy: `correct ${path} and sign it again`,
    };
  }
  const { root } = opened;
  if (root.root !== number) {
    const remedy = "the number in the file and in its name must be the same";
    return { ok: false, message: `${path} says that it is root ${root.root}`, remedy };
  }
  if (root.repository !== current.repository) {
    const message = `${path} is for the repository ${root.repository}, not ${current.repository}`;
    return { ok: false, message, remedy: "a chain of roots never changes to another repository" };
  }
  const counts = countRootApprovals(current, root, bytes, { byOld, byNew }, judge);
  for (const [by, { root: asked, count }] of Object.entries(counts)) {
    if (count.missing > 0) return { ok: false, ...describeMissing(path, by, asked, count) };
  }
  return { ok: true, next: opened };
}

/** How far the approval of a root has come, by the root before it and by itself. */
export interface RootCounts {
  readonly old: { readonly root: Root; readonly count: Count };
  readonly new: { readonly root: Root; readonly count: Count };
}

/** Returns how far the approval of a root has come. */
export function countRootApprovals(
  current: Root,
  next: Root,
  bytes: Buffer,
  { byOld, byNew }: RootSignatures,
  judge: Judge,
): RootCounts {
  const count = (by: Root, signatures: ReadonlyMap<string, Buffer>): Count =>
    countApprovals({
      ...{ root: by, role: by.roles.root, message: bytes, namespace: ROOT_NAMESPACE, signatures, ...judge },
      fileOf: (principal) => rootApprovalPath(next.root, by.root, principal),
    });
  return { old: { root: current, count: count(current, byOld) }, new: { root: next, count: count(next, byNew) } };
}

function describeMissing(
  path: string,
  by: string,
  { root, roles }: Root,
  count: Count,
): { message: string; remedy: string } {
  const { principals, threshold }: Role = roles.root;
  const whose = by === "old" ? `the root before it (root ${root})` : "itself";
  const who = count.counted.length === 0 ? "nobody" : count.counted.join(", ");
  const why = count.rejected.map((one) => `; ${one.file} does not count: ${one.why}`).join("");
  const others = principals.filter((name) => !count.counted.includes(name));
  return {
    message: `${path} is approved by ${who} as ${whose} asks; ${count.missing} of ${threshold} approvals are missing${why}`,
    remedy: `let ${count.missing} of ${others.join(", ")} run \`clawgress sign --root-of-trust\` and commit the approval`,
  };
}

/**
 * Returns the number of the newest root that a commit must carry for the chain to go on, or why its folder `trust`
 * cannot be the one that goes with the root in force.
 * @param numbers of the roots in the commit, ascending
 */
export function findNewest(
  current: Root,
  numbers: readonly number[],
):
  | { readonly ok: true; readonly newest: number }
  | { readonly ok: false; readonly message: string; readonly remedy: string } {
  const newest = numbers.at(-1) ?? 0;
  // A repository that keeps no roots has had no rotation: the one that was installed is all there is.
  if (newest === 0) return { ok: true, newest: current.root };
  const remedy = "keep every root since the first in trust/, for gateways that were off";
  if (newest < current.root) {
    return {
      ok: false,
      message: `the commit carries roots up to ${newest}, this gateway follows ${current.root}`,
      remedy,
    };
  }
  for (let number = current.root + 1; number < newest; number++) {
    if (!numbers.includes(number)) return { ok: false, message: `${rootPath(number)} is missing in the chain`, remedy };
  }
  return { ok: true, newest };
}
