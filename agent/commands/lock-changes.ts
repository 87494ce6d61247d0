import { AgentError } from "../errors.ts";
import { comparePolicies } from "../policy/compare-policies.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import { describeChanges } from "../policy/describe-changes.ts";
import { formatTextIssue } from "../policy/json-text.ts";
import { parsePolicy } from "../policy/parse-policy.ts";
import type { Policy } from "../policy/policy.ts";
import { MAX_POLICY_BYTES, readPolicyFiles } from "../source/read-policy-files.ts";
import { type LockPlan, POLICY_PATH } from "./plan-lock.ts";

/** More lines than this nobody reads before signing; the number of the others is told. */
const MAX_LINES = 200;

/** What a lock changes against the lock of the branch. */
export interface ChangeReport {
  /** Added (`+`), removed (`-`) and changed (`~`) files, sorted by path. */
  readonly files: readonly { readonly sign: "+" | "-" | "~"; readonly path: string }[];
  /** What policy.json opens and closes, in words. */
  readonly policy: readonly string[];
}

/**
 * Returns what approving the lock would change. @throws AgentError POLICY_INVALID, POLICY_UNSUPPORTED or POLICY_TEST_FAILED: what a
 * gateway would refuse is not worth anybody's signature.
 */
export async function reportChanges(plan: LockPlan): Promise<ChangeReport> {
  const before = new Map(Object.entries(plan.base?.lock.files ?? {}));
  const after = new Map(Object.entries(plan.lock.files));
  const paths = [...new Set([...before.keys(), ...after.keys()])].sort(compareTexts);
  const files = paths
    .filter((path) => before.get(path) !== after.get(path))
    .map((path) => ({ sign: signOf(before.has(path), after.has(path)), path }));
  return { files, policy: await describePolicy(plan) };
}

function signOf(wasThere: boolean, isThere: boolean): "+" | "-" | "~" {
  if (!wasThere) return "+";
  return isThere ? "~" : "-";
}

async function describePolicy(plan: LockPlan): Promise<readonly string[]> {
  const bytes = plan.contents.get(POLICY_PATH);
  if (bytes === undefined) return [];
  const after = parsePolicy(bytes, POLICY_PATH, { maxBytes: MAX_POLICY_BYTES, files: plan.contents });
  if (!after.ok) {
    const code = after.issues.find((issue) => issue.severity === "error")?.code ?? "POLICY_INVALID";
    throw new AgentError(code, after.issues.map(formatTextIssue).join("\n"), {
      remedy: "correct the lines named above before anybody signs",
    });
  }
  const lines = describeChanges(comparePolicies(await readBefore(plan), after.policy));
  if (lines.length <= MAX_LINES) return lines;
  return [...lines.slice(0, MAX_LINES), `… and ${lines.length - MAX_LINES} more; see \`clawgress diff\``];
}

/** The policy of the branch; null when there is none, or none that this version can read. */
async function readBefore({ base }: LockPlan): Promise<Policy | null> {
  const files = base === null ? null : await readPolicyFiles(base.tree, [POLICY_PATH]);
  const bytes = files?.get(POLICY_PATH);
  if (files === null || bytes === undefined) return null;
  // Signers learn what changes even where the branch fails tests of its own.
  const result = parsePolicy(bytes, POLICY_PATH, { maxBytes: MAX_POLICY_BYTES, files, tests: "skip" });
  return result.ok ? result.policy : null;
}
