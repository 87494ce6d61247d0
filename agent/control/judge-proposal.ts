import type { Agent } from "../agent.ts";
import { readBadReleases } from "../apply/bad-releases.ts";
import { checkWhileStoring } from "../apply/check-artifacts.ts";
import { openEnforced } from "../apply/enforced.ts";
import { gateReleaseOf } from "../apply/gate-releases.ts";
import { storeRelease } from "../apply/release-store.ts";
import { compile } from "../compile/compile.ts";
import type { Release } from "../compile/release.ts";
import { AgentError, type Code, toAgentError } from "../errors.ts";
import { makeScratchFolder, removeFolder } from "../host/folders.ts";
import { comparePolicies } from "../policy/compare-policies.ts";
import { describeChanges } from "../policy/describe-changes.ts";
import { formatIssue } from "../policy/issue-log.ts";
import { parsePolicy } from "../policy/parse-policy.ts";
import type { Policy } from "../policy/policy.ts";
import type { Check, Verdict } from "./agent-calls.ts";

const MAX_POLICY_BYTES = 64 * 1024 * 1024;
const MAX_DETAILS = 200;

/**
 * Returns the verdict of all checks on a policy that can be made without changing anything, and what it would change
 * against what is in force. The first check that fails ends it: later ones have nothing to look at.
 */
export async function judgeProposal(agent: Agent, text: Buffer): Promise<Verdict> {
  const checks: Check[] = [];
  const verdict = (changes: readonly string[]): Verdict => ({ ok: checks.every(({ ok }) => ok), checks, changes });
  const policy = checkPolicy(agent, text, checks);
  if (policy === null) return verdict([]);
  const enforced = await gateReleaseOf(agent.apply, await openEnforced(agent.apply));
  const changes = describeChanges(comparePolicies(enforced.policy, policy));
  const release = await attempt("compiles", checks, "POLICY_INVALID", async () =>
    compile({ policy, settings: agent.settings }),
  );
  if (release === null) return verdict(changes);
  await attempt("loads into named and the kernel", checks, "APPLY_CHECK_FAILED", () => checkRelease(agent, release));
  await attempt("was not rolled back before", checks, "APPLY_BAD_RELEASE", () => refuseBad(agent, release.digest));
  return verdict(changes);
}

/** Returns the verdict as an error; null when nothing was found. */
export function toError({ checks }: Verdict): AgentError | null {
  const failed = checks.find(({ ok }) => !ok);
  if (failed === undefined) return null;
  return new AgentError(failed.code ?? "POLICY_INVALID", failed.details.join("\n") || `${failed.name}: no`, {
    remedy: "correct what is named above; policy-schema/policy.schema.json describes every key",
    details: { issues: [...failed.details] },
  });
}

function checkPolicy({ settings }: Agent, text: Buffer, checks: Check[]): Policy | null {
  const { policyPath } = settings.repository;
  const result = parsePolicy(text, policyPath, { maxBytes: MAX_POLICY_BYTES });
  const issues = result.ok ? result.warnings : result.issues;
  const errors = issues.filter(({ severity }) => severity === "error");
  checks.push({
    name: "is a policy, and its own tests pass",
    ok: result.ok,
    details: issues
      .slice(0, MAX_DETAILS)
      .map((issue) => `${issue.severity === "error" ? "" : "warning: "}${formatIssue(issue)}`),
    code: result.ok ? null : (errors[0]?.code ?? "POLICY_INVALID"),
  });
  return result.ok ? result.policy : null;
}

async function attempt<Result>(
  name: string,
  checks: Check[],
  code: Code,
  work: () => Promise<Result>,
): Promise<Result | null> {
  try {
    const result = await work();
    checks.push({ name, ok: true, details: [], code: null });
    return result;
  } catch (error) {
    const failure = toAgentError(error, code, "it cannot be checked");
    checks.push({ name, ok: false, details: [failure.message], code: failure.code });
    return null;
  }
}

/** In a folder of its own: what is judged only is no release that could come into force. */
async function checkRelease({ apply, settings }: Agent, release: Release): Promise<void> {
  const folder = await makeScratchFolder("clawgress-check-");
  try {
    const provenance = { commit: "0".repeat(40), serial: 0, repository: settings.repository.name, approvedBy: [] };
    await checkWhileStoring(release, storeRelease(folder, release, provenance), apply.verdicts);
  } finally {
    await removeFolder(folder);
  }
}

async function refuseBad({ paths }: Agent, digest: string): Promise<void> {
  const bad = (await readBadReleases(paths.badReleases)).find((entry) => entry.digest === digest);
  if (bad === undefined) return;
  throw new AgentError("APPLY_BAD_RELEASE", `rolled back before (serial ${bad.serial}): ${bad.reason}`);
}
