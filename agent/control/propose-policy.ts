import type { Agent } from "../agent.ts";
import { AgentError } from "../errors.ts";
import { nowMs } from "../host/clock.ts";
import { createTurn } from "../host/turn.ts";
import { commitOwnPolicy } from "../source/own-repository.ts";
import type { Proposal, ProposalResult } from "./agent-calls.ts";
import { breakGlass } from "./break-glass.ts";
import { type Cycles, summarizeCycle } from "./cycles.ts";
import { judgeProposal, toError } from "./judge-proposal.ts";

/** Proposals under way: each takes a second or two, and the last one's caller waits for all. One more is refused at once. */
const MAX_WAITING = 12;

/**
 * Returns the way from a proposal to a commit of the gateway's own repository and a cycle that takes it up. One after the
 * other: each is judged against what the one before has left.
 */
export function createProposals(agent: Agent, cycles: Cycles): (proposal: Proposal) => Promise<ProposalResult> {
  const inTurn = createTurn();
  let waiting = 0;
  return async (proposal) => {
    if (proposal.breakGlass === null) refuseRemote(agent);
    else refuseOwn(agent);
    if (waiting >= MAX_WAITING) {
      throw new AgentError("PROPOSAL_BUSY", `${waiting} changes are under way`, {
        remedy: "try again in a few seconds",
      });
    }
    waiting += 1;
    try {
      return await inTurn(() => {
        const { breakGlass: broken } = proposal;
        if (broken === null) return proposeOwn(agent, cycles, proposal);
        return cycles.between(() => breakGlass(agent, proposal, broken.forS));
      });
    } finally {
      waiting -= 1;
    }
  };
}

async function proposeOwn(agent: Agent, cycles: Cycles, proposal: Proposal): Promise<ProposalResult> {
  const { settings, paths, log } = agent;
  const policy = Buffer.from(proposal.text);
  const verdict = await cycles.between(() => judgeProposal(agent, policy));
  const refusal = toError(verdict);
  if (refusal !== null) throw refusal;
  const { by, reason } = proposal;
  const change = { policy, by, reason, atMs: nowMs() };
  const { commit, serial } = await commitOwnPolicy(paths.own, settings.repository, settings.gateway, change);
  log.info({ event: "policy-committed", commit, serial, by, reason });
  const { outcome, error, ...ended } = summarizeCycle(await cycles.run());
  const applied = ended.commit === commit && (outcome === "confirmed" || outcome === "unchanged");
  return { commit, serial, applied, outcome, changes: verdict.changes, error };
}

function refuseOwn({ settings }: Agent): void {
  if (settings.repository.url !== null) return;
  throw new AgentError(
    "USAGE",
    "there is no glass to break: this gateway's policy is changed without a repository elsewhere",
    {
      remedy: "leave --break-glass out",
    },
  );
}

function refuseRemote({ settings }: Agent): void {
  const { url, branch, policyPath } = settings.repository;
  if (url === null) return;
  throw new AgentError(
    "PROPOSAL_REMOTE",
    `this gateway follows ${branch} of ${url}, and nothing else changes its policy`,
    {
      remedy: `change ${policyPath} there: clone, edit, \`clawgress sign\`, and open a pull request; in an emergency, \`clawgress policy import file PATH --break-glass --reason WHY --for 30m\``,
    },
  );
}
