import { buildDecider, type Decider, type Decision } from "./decide.ts";
import type { TestDocument } from "./document.ts";
import { parseInstant } from "./expiry.ts";
import { decideTarget, entryText, findClient, parseTarget } from "./explain-flow.ts";
import { joinPointer } from "./json-pointer.ts";
import { quoteText } from "./parsed.ts";
import type { Issue, Policy } from "./policy.ts";
import { reasons } from "./reasons.ts";
import type { PolicySource } from "./source-document.ts";

/**
 * Asks a policy the questions that its own files put, by the function that the gate and `explain` ask. An answer other
 * than the expected one is an error at the line of the test. Under `deny-all` nothing is asked: an emergency must not
 * wait for tests to be rewritten. No test knows what time it is, so that a policy that was right stays right.
 */
export function runPolicyTests(policy: Policy, sources: readonly PolicySource[]): void {
  if (policy.mode === "deny-all" || sources.every(({ document }) => document.tests === undefined)) return;
  let atS: number | null = null;
  const decider = buildDecider(policy, () => atS);
  const setClock = ({ at }: TestDocument): Failure | null => {
    const parsed = at === undefined ? null : parseInstant(at);
    atS = parsed?.ok === true ? parsed.value : null;
    return parsed?.ok === false ? { at: "at", ...parsed, code: "POLICY_INVALID" } : null;
  };
  for (const { document, log } of sources) {
    for (const [index, test] of (document.tests ?? []).entries()) {
      const failure = setClock(test) ?? judgeTest(policy, decider, test);
      if (failure === null) continue;
      const { at: key, message, remedy, code } = failure;
      const pointer = joinPointer("/tests", index);
      log.error(log.locate(key === null ? pointer : joinPointer(pointer, key)), message, remedy, code);
    }
  }
}

interface Failure {
  /** The key that is wrong; null when the test as a whole is. */
  readonly at: keyof TestDocument | null;
  readonly message: string;
  readonly remedy: string;
  readonly code: Issue["code"];
}

function judgeTest(policy: Policy, decider: Decider, test: TestDocument): Failure | null {
  const client = findClient(decider, policy, test.from);
  if (!client.ok) return { at: "from", ...client, code: "POLICY_INVALID" };
  const target = parseTarget(test.to);
  if (!target.ok) return { at: "to", ...target, code: "POLICY_INVALID" };
  if (target.value.address !== null && target.value.port === null) {
    const message = `${quoteText(test.to)} has no port`;
    return { at: "to", message, remedy: "write one, such as 192.0.2.1:443", code: "POLICY_INVALID" };
  }
  const outcome = decideTarget(decider, client.value, target.value);
  // An audit lets pass what the policy denies; a test asks what the policy says.
  const decision = outcome.verdict === "allow" ? (outcome.wouldDeny ?? outcome) : outcome;
  if (decision.verdict === test.expect) return null;
  const message = `${quoteText(test.from)} to ${quoteText(test.to)} is ${describe(decision)}, and the test expects ${test.expect}`;
  return { at: null, message, remedy: "correct the lists, or the test", code: "POLICY_TEST_FAILED" };
}

function describe(decision: Decision): string {
  if (decision.verdict === "deny") {
    const { reason, nearMiss, nearRule } = decision;
    const where = nearRule === null ? "" : ` (${nearRule.place.file}:${nearRule.place.line})`;
    return `denied (${reason}: ${nearMiss ?? reasons[reason].text}${where})`;
  }
  const { rule } = decision;
  return rule === null ? "allowed" : `allowed by ${entryText(rule)} (${rule.place.file}:${rule.place.line})`;
}
