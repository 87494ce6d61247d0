import type { Agent } from "../agent.ts";
import { readBadReleases } from "../apply/bad-releases.ts";
import { compile } from "../compile/compile.ts";
import { type Cycle, need, type StepResult } from "../cycle.ts";
import { AgentError } from "../errors.ts";
import { nowMs } from "../host/clock.ts";
import { formatIssue } from "../policy/issue-log.ts";
import { parsePolicy } from "../policy/parse-policy.ts";
import { MAX_POLICY_BYTES } from "../source/read-policy-files.ts";

const MAX_SHOWN_ISSUES = 20;

/** Parses the approved policy; its errors carry file, line and column. */
export async function readPolicy(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const { policyPath } = agent.settings.repository;
  const { files } = need(cycle.approval, "approval");
  // What it includes was approved with it, or is not there.
  const result = parsePolicy(need(files.get(policyPath), "policy file"), policyPath, {
    maxBytes: MAX_POLICY_BYTES,
    files,
    memory: agent.memory.read,
    nowS: nowMs() / 1000,
  });
  if (result.ok) {
    for (const warning of result.warnings) {
      agent.log.info({ event: "policy-warning", commit: cycle.commit, warning: formatIssue(warning) });
    }
    return { policy: result.policy };
  }
  const errors = result.issues.filter((issue) => issue.severity === "error");
  const [first] = errors;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : "";
  throw new AgentError(first?.code ?? "POLICY_INVALID", `${first === undefined ? "" : formatIssue(first)}${more}`, {
    remedy: "`clawgress check` shows every issue before a merge",
    details: { issues: errors.slice(0, MAX_SHOWN_ISSUES).map(formatIssue) },
  });
}

/** Compiles the policy for this gateway. */
export async function compileCommit(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const { settings, memory } = agent;
  return { release: compile({ policy: need(cycle.policy, "policy"), settings, memory: memory.compiled }) };
}

/** Refuses a release that was rolled back before, whatever commit carries it now. */
export async function refuseBadRelease(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const { digest } = need(cycle.release, "release");
  const bad = (await readBadReleases(agent.paths.badReleases)).find((entry) => entry.digest === digest);
  if (bad === undefined) return {};
  throw new AgentError("APPLY_BAD_RELEASE", `rolled back before (serial ${bad.serial}): ${bad.reason}`, {
    remedy: `correct the policy and sign again; to try the same once more, remove its entry from ${agent.paths.badReleases}`,
    details: { digest, commit: bad.commit },
  });
}
