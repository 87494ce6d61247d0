import type { Allowed } from "../policy/decide.ts";
import type { ActivePolicy } from "./active-policy.ts";
import { policyText, type Refusal, refuse } from "./judge-query.ts";
import { rcode } from "./wire.ts";
import type { Answer } from "./wire-answer.ts";

/** Why an answer may not reach its client, or might not if the policy were not under audit for it. */
export interface AnswerVerdict {
  readonly refusal: Refusal | null;
  readonly wouldDeny: Refusal | null;
}

/**
 * Returns why an answer to an allowed question may not reach its client, or null when it may: it goes by the name of
 * something that is denied, or leads to an address that is denied, reserved, or private and not opened. One bad address
 * refuses the whole answer. An audit lets pass what `deny` names, but for private addresses, and nothing else.
 */
export function judgeAnswer(policy: ActivePolicy, decision: Allowed, name: string, answer: Answer): AnswerVerdict {
  const isAudited = decision.client.group.mode === "audit";
  let wouldDeny: Refusal | null = null;
  for (const { refusal, isSparedByAudit } of findRefusals(policy, decision, name, answer)) {
    if (!isAudited || !isSparedByAudit) return { refusal, wouldDeny: null };
    wouldDeny ??= refusal;
  }
  return { refusal: null, wouldDeny };
}

interface AnswerRefused {
  readonly refusal: Refusal;
  readonly isSparedByAudit: boolean;
}

function* findRefusals(
  policy: ActivePolicy,
  decision: Allowed,
  name: string,
  answer: Answer,
): Generator<AnswerRefused> {
  const { client } = decision;
  for (const alias of answer.aliases) {
    const denial = policy.decider.deniesName(client, alias);
    if (denial === null) continue;
    const text = `${name} is an alias of ${alias}, which ${policyText(policy)} denies`;
    const refusal = { ...refuse(rcode.NXDOMAIN, "denied-explicit", text), client, nearRule: denial };
    yield { refusal, isSparedByAudit: true };
  }
  for (const { address } of answer.addresses) {
    const refused = policy.refuseAnswer(decision, address);
    if (refused === null) continue;
    const { reason, entry: nearRule, isSparedByAudit } = refused;
    const why =
      reason === "denied-explicit"
        ? `an address that ${policyText(policy)} denies`
        : `a private or reserved address that ${policyText(policy)} does not open`;
    const text = `${name} resolves to ${address}, ${why}`;
    yield { refusal: { ...refuse(rcode.NXDOMAIN, reason, text), client, nearRule }, isSparedByAudit };
  }
}
