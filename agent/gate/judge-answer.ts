import { compareTexts } from "../policy/compare-texts.ts";
import type { Allowed } from "../policy/decide.ts";
import type { ActivePolicy, AnswerRefusal } from "./active-policy.ts";
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
  for (const { address, refused } of refusedAddresses(policy, decision, answer)) {
    const { reason, entry: nearRule, isSparedByAudit } = refused;
    const why =
      reason === "denied-explicit"
        ? `an address that ${policyText(policy)} denies`
        : `a private or reserved address that ${policyText(policy)} does not open`;
    const text = `${name} resolves to ${address}, ${why}`;
    yield { refusal: { ...refuse(rcode.NXDOMAIN, reason, text), client, nearRule }, isSparedByAudit };
  }
}

interface RefusedAddress {
  readonly address: string;
  readonly refused: AnswerRefusal;
}

/**
 * Servers shuffle the addresses of an answer; which one is told of does not depend on it: the first private one that is not
 * opened, since it says the most (somebody may lead the client inside), then the first that is denied.
 */
function refusedAddresses(policy: ActivePolicy, decision: Allowed, { addresses }: Answer): readonly RefusedAddress[] {
  const all: RefusedAddress[] = [];
  for (const { address } of addresses) {
    const refused = policy.refuseAnswer(decision, address);
    if (refused !== null) all.push({ address, refused });
  }
  const rank = ({ address, refused }: RefusedAddress): string =>
    `${refused.reason === "private-answer" ? 0 : 1}${address}`;
  return all.length < 2 ? all : all.sort((a, b) => compareTexts(rank(a), rank(b)));
}
