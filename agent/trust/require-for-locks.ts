import { parsePolicy } from "../policy/parse-policy.ts";
import type { Policy } from "../policy/policy.ts";
import { digestOf, type Lock } from "./lock.ts";
import { dependsOnMeaning, fullRequirement, type Requirement, requireApprovals } from "./requirements.ts";
import type { Root, Rule } from "./root.ts";

type Files = ReadonlyMap<string, Buffer>;

const MAX_POLICY_BYTES = 64 * 1024 * 1024;

/** A lock that was verified, with the files that it lists. */
export interface KnownLock {
  readonly lock: Lock;
  readonly contents: Files;
}

export interface LocksInput {
  readonly root: Root;
  readonly policyPath: string;
  /** What was verified last, by the rule (null: the common lock); null when it is not known. */
  readonly last: ReadonlyMap<string | null, KnownLock> | null;
  readonly locks: readonly { readonly part: Rule | null; readonly lock: Lock }[];
  /** path → bytes of the files that they list; null for a missing one. */
  readonly present: ReadonlyMap<string, Buffer | null>;
}

/**
 * Returns for each lock who has to approve it. Several that changed are taken as steps, one after the other, so that each
 * answers for its own change and all of the way from what was verified to what comes is answered for.
 */
export function requireForLocks(input: LocksInput): readonly (readonly Requirement[])[] {
  const { root, policyPath, last, locks, present } = input;
  if (!dependsOnMeaning(root)) return locks.map(() => [fullRequirement(root)]);
  if (last === null) {
    const after = { files: {}, policy: null };
    return locks.map(({ part }) => requireApprovals({ root, part, before: null, after, isNext: false }));
  }
  const final = read(policyPath, overlay(new Map(), locks, present));
  let files: Files = new Map([...last.values()].flatMap(({ contents }) => [...contents]));
  let policy = read(policyPath, files);
  const required: (readonly Requirement[])[] = [];
  for (const opened of locks) {
    const { part, lock } = opened;
    const before = last.get(part?.name ?? null);
    const nextFiles = overlay(without(files, before?.contents), [opened], present);
    // In between it may be no policy, when one file waits for another: then the whole way counts for each.
    const next = read(policyPath, nextFiles) ?? final;
    const isNext = lock.serial === (before?.lock.serial ?? 0) + 1;
    const from = { files: before?.lock.files ?? {}, policy };
    required.push(requireApprovals({ root, part, before: from, after: { files: lock.files, policy: next }, isNext }));
    files = nextFiles;
    policy = next;
  }
  return required;
}

function without(files: Files, gone: Files | undefined): Files {
  return new Map([...files].filter(([path]) => gone?.has(path) !== true));
}

/** What a lock lists, as far as there is exactly that. */
function overlay(files: Files, locks: readonly { readonly lock: Lock }[], present: LocksInput["present"]): Files {
  const next = new Map(files);
  for (const [path, digest] of locks.flatMap(({ lock }) => Object.entries(lock.files))) {
    const bytes = present.get(path);
    if (bytes != null && digestOf(bytes) === digest) next.set(path, bytes);
  }
  return next;
}

function read(policyPath: string, files: Files): Policy | null {
  const bytes = files.get(policyPath);
  if (bytes === undefined) return null;
  const result = parsePolicy(bytes, policyPath, { maxBytes: MAX_POLICY_BYTES, files, tests: "skip" });
  return result.ok ? result.policy : null;
}
