import type { Agent } from "../agent.ts";
import { applyRelease, rehearse } from "../apply/apply-release.ts";
import {
  isBreakGlassOver,
  readBreakGlass,
  removeBreakGlass,
  requireNoBreakGlass,
  writeBreakGlass,
} from "../apply/break-glass-note.ts";
import { BREAK_GLASS_SERIAL } from "../apply/break-glass-serial.ts";
import { startBreakGlassTimer, stopBreakGlassTimer } from "../apply/break-glass-timer.ts";
import { checkWhileStoring } from "../apply/check-artifacts.ts";
import { openEnforced } from "../apply/enforced.ts";
import { checkProxyUser } from "../apply/proxy-service.ts";
import { storeRelease } from "../apply/release-store.ts";
import { startRevertTimer } from "../apply/revert-timer-client.ts";
import { enforceConfirmed } from "../apply/start-enforcing.ts";
import { compile } from "../compile/compile.ts";
import { AgentError } from "../errors.ts";
import { bootTimeMs, nowMs, readBootId } from "../host/clock.ts";
import { readPointers } from "../host/pointer-store.ts";
import { parsePolicy } from "../policy/parse-policy.ts";
import { tellRestored } from "../report/tell-restored.ts";
import { MAX_POLICY_BYTES } from "../source/read-policy-files.ts";
import type { Proposal, ProposalResult } from "./agent-calls.ts";
import { judgeProposal, toError } from "./judge-proposal.ts";

const MIN_FOR_S = 1;
const MAX_FOR_S = 24 * 3600;
const NO_COMMIT = "0".repeat(40);

/**
 * Puts a policy in force that nobody approved, until an end, with all the checks and probes of any other change. The
 * confirmed pointer does not move: at the end, after a reboot, and whenever anything is in doubt, what was approved comes
 * back. To be run between cycles. @throws AgentError USAGE, BREAK_GLASS when there is one already, POLICY_*, APPLY_*
 */
export async function breakGlass(agent: Agent, proposal: Proposal, forS: number): Promise<ProposalResult> {
  const { apply, paths, settings, log } = agent;
  await requireNoBreakGlass(paths.breakGlass);
  if (!Number.isInteger(forS) || forS < MIN_FOR_S || forS > MAX_FOR_S || proposal.reason.trim() === "") {
    throw new AgentError("USAGE", "breaking the glass needs a reason and an end within 24 hours", {
      remedy: "add --reason WHY --for 30m",
    });
  }
  const text = Buffer.from(proposal.text);
  const verdict = await judgeProposal(agent, text);
  const refusal = toError(verdict);
  if (refusal !== null) throw refusal;
  const parsed = parsePolicy(text, settings.repository.policyPath, { maxBytes: MAX_POLICY_BYTES });
  if (!parsed.ok) throw new AgentError("POLICY_INVALID", "the policy has errors");
  checkProxyUser(apply, parsed.policy);
  const { confirmed } = await readPointers(paths.pointers);
  const release = compile({ policy: parsed.policy, settings });
  const approvedBy = [`${proposal.by} (break-glass)`];
  const provenance = { commit: NO_COMMIT, serial: confirmed.serial, repository: settings.repository.name, approvedBy };
  const previous = await openEnforced(apply);
  if (previous.digest === release.digest) throw new AgentError("USAGE", "this policy is in force already");
  const next = await checkWhileStoring(release, storeRelease(paths.releases, release, provenance), apply.verdicts);
  const before = await rehearse(apply, async () => []);
  const deadlineMs = bootTimeMs() + forS * 1000;
  const { by, reason } = proposal;
  const since = new Date(nowMs()).toISOString();
  const until = new Date(nowMs() + forS * 1000).toISOString();
  const note = { by, reason, since, until, release: next.digest, bootId: await readBootId(), deadlineMs };
  await startBreakGlassTimer(apply, previous, next.digest, deadlineMs);
  const timer = await startRevertTimer(apply);
  const outcome = await apply.inTurn(() =>
    applyRelease(apply, {
      ...{ next, previous, before, timer, commit: NO_COMMIT, serial: BREAK_GLASS_SERIAL },
      extraProbes: async () => [],
      onConfirm: () => writeBreakGlass(paths.breakGlass, note),
    }),
  );
  const result = { commit: null, serial: null, changes: verdict.changes };
  if (outcome.kind !== "confirmed") {
    await stopBreakGlassTimer(apply);
    const { code, message, remedy } = outcome.error;
    return { ...result, applied: false, outcome: "rolled-back", error: { code, message, remedy } };
  }
  log.warn({ event: "break-glass", by, reason, until, release: next.digest });
  if (confirmed.commit !== null)
    await agent.reporter?.post(confirmed.commit, { kind: "break-glass", by, until, reason });
  return { ...result, applied: true, outcome: "confirmed", error: null };
}

/** Puts what was approved in force again, when the end of a broken glass has come or `now` says so. Returns whether there was one. */
export async function endBreakGlass(agent: Agent, now = false): Promise<boolean> {
  const { apply, paths, log, memory } = agent;
  const isDue = now ? (await readBreakGlass(paths.breakGlass)) !== null : await isBreakGlassOver(paths.breakGlass);
  if (!isDue) return false;
  await apply.inTurn(async () => {
    await stopBreakGlassTimer(apply);
    await removeBreakGlass(paths.breakGlass);
    const failure = await apply.locked(() => enforceConfirmed(apply, null));
    if (failure !== null) throw failure;
  });
  log.warn({ event: "break-glass-ended", early: now });
  memory.settledCommit = null;
  await tellRestored(agent);
  return true;
}

/** After a start: a broken glass that lasts gets its timer again, and one that is over is ended. */
export async function resumeBreakGlass(agent: Agent): Promise<void> {
  const { apply, paths } = agent;
  const note = await readBreakGlass(paths.breakGlass);
  if (note === null) {
    await endBreakGlass(agent);
    return;
  }
  await stopBreakGlassTimer(apply);
  const { confirmed } = await readPointers(paths.pointers);
  const back = await openEnforced(apply, confirmed.release);
  await startBreakGlassTimer(apply, back, note.release, note.deadlineMs);
}

/** A step of the cycle: while the glass is broken, what is approved is remembered and waits. @throws AgentError BREAK_GLASS */
export async function holdForBreakGlass({ paths }: Agent): Promise<{ readonly [key: string]: never }> {
  const active = await readBreakGlass(paths.breakGlass);
  if (active === null) return {};
  throw new AgentError(
    "BREAK_GLASS",
    `approved; waits until ${active.until}, when the broken glass of ${active.by} ends`,
    {
      remedy: "`clawgress policy end-break-glass` ends it at once",
    },
  );
}
