import { AgentError } from "../errors.ts";
import { comparePolicies, type PolicyChanges } from "../policy/compare-policies.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import { describeChanges } from "../policy/describe-changes.ts";
import { formatTextIssue } from "../policy/json-text.ts";
import { parsePolicy } from "../policy/parse-policy.ts";
import type { Policy } from "../policy/policy.ts";
import type { Tree } from "../source/read-manifest.ts";
import { MAX_POLICY_BYTES, readPolicyFiles } from "../source/read-policy-files.ts";
import { type LockPlan, nullWhereUnreadable, POLICY_PATH } from "./plan-lock.ts";

/** A change that takes away more than half of so many entries or more is asked about. */
const MASS_ENTRIES = 10;

/** More lines than this nobody reads before signing; the number of the others is told. */
const MAX_LINES = 200;

/** An added (`+`), removed (`-`) or changed (`~`) file. */
export interface FileChange {
  readonly sign: "+" | "-" | "~";
  readonly path: string;
}

/** Returns which files a lock adds, removes and changes against that of the branch, sorted. */
export function listFileChanges(plan: LockPlan): readonly FileChange[] {
  const before = new Map(Object.entries(plan.base?.lock.files ?? {}));
  const after = new Map(Object.entries(plan.lock.files));
  const paths = [...new Set([...before.keys(), ...after.keys()])].sort(compareTexts);
  return paths
    .filter((path) => before.get(path) !== after.get(path))
    .map((path) => ({ sign: signOf(before.has(path), after.has(path)), path }));
}

function signOf(wasThere: boolean, isThere: boolean): "+" | "-" | "~" {
  if (!wasThere) return "+";
  return isThere ? "~" : "-";
}

/** What approving a policy would do. */
export interface PolicyChange {
  /** What it would open and close, in words. */
  readonly lines: readonly string[];
  /** How many of the allowed names and networks go, when that is most of them: a file that was cut off does that, too. */
  readonly massRemoval: { readonly removed: number; readonly entries: number } | null;
}

/**
 * Returns what approving the locks would open and close. @throws AgentError POLICY_INVALID, POLICY_UNSUPPORTED
 * or POLICY_TEST_FAILED: what a gateway would refuse is not worth anybody's signature.
 */
export async function describePolicy(plans: readonly LockPlan[]): Promise<PolicyChange> {
  const contents = new Map(plans.flatMap((plan) => [...plan.contents]));
  const bytes = contents.get(POLICY_PATH);
  if (bytes === undefined) return { lines: [], massRemoval: null };
  const after = parsePolicy(bytes, POLICY_PATH, { maxBytes: MAX_POLICY_BYTES, files: contents });
  if (!after.ok) {
    const code = after.issues.find((issue) => issue.severity === "error")?.code ?? "POLICY_INVALID";
    throw new AgentError(code, after.issues.map(formatTextIssue).join("\n"), {
      remedy: "correct the lines named above before anybody signs",
    });
  }
  const base = plans.find((plan) => plan.part === null)?.base ?? null;
  const before = base === null ? null : await readPolicyOf(base.tree);
  const changes = comparePolicies(before, after.policy);
  return { lines: cutLines(describeChanges(changes)), massRemoval: findMassRemoval(before, changes) };
}

function findMassRemoval(before: Policy | null, changes: PolicyChanges): PolicyChange["massRemoval"] {
  if (before === null) return null;
  const all = comparePolicies(null, before);
  const entries = all.domainsAdded.length + all.networksAdded.length;
  const removed = changes.domainsRemoved.length + changes.networksRemoved.length;
  return entries >= MASS_ENTRIES && removed * 2 > entries ? { removed, entries } : null;
}

/** Returns what a policy in the working tree differs in from the one that somebody approved, in words. */
export async function describeSince(approved: Tree, plans: readonly LockPlan[]): Promise<readonly string[]> {
  const contents = new Map(plans.flatMap((plan) => [...plan.contents]));
  const bytes = contents.get(POLICY_PATH);
  const after =
    bytes === undefined
      ? null
      : parsePolicy(bytes, POLICY_PATH, { maxBytes: MAX_POLICY_BYTES, files: contents, tests: "skip" });
  if (after?.ok !== true) return [];
  return cutLines(describeChanges(comparePolicies(await readPolicyOf(approved), after.policy)));
}

function cutLines(lines: readonly string[]): readonly string[] {
  if (lines.length <= MAX_LINES) return lines;
  return [...lines.slice(0, MAX_LINES), `… and ${lines.length - MAX_LINES} more; see \`clawgress diff\``];
}

/**
 * The policy in a tree; null when there is none, or none that this version can read. What stands in an older commit,
 * such as a link in the place of the file, must not keep anybody from signing what puts it right.
 */
async function readPolicyOf(tree: Tree): Promise<Policy | null> {
  const files = await readPolicyFiles(tree, [POLICY_PATH]).catch(nullWhereUnreadable);
  const bytes = files?.get(POLICY_PATH);
  if (files === null) return null;
  if (bytes === undefined) return null;
  // Signers learn what changes even where the branch fails tests of its own.
  const result = parsePolicy(bytes, POLICY_PATH, { maxBytes: MAX_POLICY_BYTES, files, tests: "skip" });
  return result.ok ? result.policy : null;
}
