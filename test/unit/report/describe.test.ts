import { expect, test } from "vitest";
import type { ChangeCounts } from "../../../agent/policy/compare-policies.ts";
import { describeOutcome, type Outcome } from "../../../agent/report/describe.ts";

const none: ChangeCounts = {
  domainsAdded: 0,
  domainsRemoved: 0,
  networksAdded: 0,
  networksRemoved: 0,
  portsAdded: 0,
  portsRemoved: 0,
  hostsAdded: 0,
  hostsRemoved: 0,
  hostsChanged: 0,
  limitsChanged: 0,
  rulesAdded: 0,
  rulesRemoved: 0,
};
const confirmed = (changes: Partial<ChangeCounts>, more: object = {}): Outcome => ({
  kind: "confirmed",
  serial: 41,
  approvedBy: ["alice", "bob"],
  insecure: false,
  audit: false,
  changes: { ...none, ...changes },
  ...more,
});
const refused = (message: string): Outcome => ({ kind: "refused", code: "TRUST_UNSIGNED", message });

test.each<[string, Outcome, string, string]>([
  ["seen", { kind: "seen" }, "pending", "seen, not enforced yet"],
  [
    "changes, serial and approvers",
    confirmed({ domainsAdded: 2, networksRemoved: 1 }),
    "success",
    "+2 domains −1 network, serial 41, by alice, bob",
  ],
  ["no change", confirmed({}), "success", "no change, serial 41, by alice, bob"],
  [
    "every kind of change",
    confirmed({ domainsAdded: 1, domainsRemoved: 1, portsAdded: 3, hostsAdded: 1, hostsChanged: 2, limitsChanged: 1 }),
    "success",
    "+1 domain −1 domain +3 ports +1 host ~2 hosts ~1 limit, serial 41, by alice, bob",
  ],
  [
    "more approvers than fit",
    confirmed({}, { approvedBy: ["a", "b", "c", "d", "e", "f"] }),
    "success",
    "no change, serial 41, by a, b, c, d and 2 more",
  ],
  [
    "insecure is never shown as approved",
    confirmed({}, { insecure: true, approvedBy: [] }),
    "success",
    "no change, serial 41, NOT VERIFIED (insecure: true)",
  ],
  [
    "a rollback that failed is no success and no mere failure",
    { kind: "rollback-failed", code: "APPLY_REVERT_FAILED", message: "named does not start" },
    "error",
    "rollback failed, all is closed: APPLY_REVERT_FAILED: named does not start",
  ],
  [
    "what was confirmed and is closed now",
    { kind: "closed", code: "APPLY_RELEASE_DAMAGED", message: "gate.json does not match its digest" },
    "error",
    "no longer in force, all is closed: APPLY_RELEASE_DAMAGED: gate.json does not match its digest",
  ],
  ["in force again", { kind: "restored", serial: 41 }, "success", "in force again, serial 41"],
  [
    "an audit is never shown as enforced",
    confirmed({}, { audit: true }),
    "success",
    "no change, serial 41, AUDIT MODE, by alice, bob",
  ],
  ["refused", refused("1 of 2 approvals"), "failure", "refused: TRUST_UNSIGNED: 1 of 2 approvals"],
  [
    "rolled back",
    { kind: "rolled-back", code: "HEALTH_FAILED", message: "forge: no answer" },
    "failure",
    "rolled back: HEALTH_FAILED: forge: no answer",
  ],
  [
    "failed",
    { kind: "failed", code: "HOST_COMMAND", message: "nft failed" },
    "error",
    "failed, will be tried again: HOST_COMMAND: nft failed",
  ],
  [
    "addresses of the surroundings are masked, networks of the policy are not",
    refused("10.0.0.5, fd00::1 and 10.0.0.6:53 but 10.0.0.0/24 and 12:30."),
    "failure",
    "refused: TRUST_UNSIGNED: (address), (address) and (address):53 but 10.0.0.0/24 and 12:30.",
  ],
  [
    "control and bidirectional characters",
    refused("a\u0000b\r\nc\u202ed\u200be"),
    "failure",
    "refused: TRUST_UNSIGNED: a b c d e",
  ],
])("%s", (_, outcome, state, description) => {
  expect(describeOutcome(outcome)).toEqual({ state, description });
});

test("GD13 a description is cut to 140 code points, never within one", () => {
  const { description } = describeOutcome(refused("😀".repeat(500)));
  expect([...description]).toHaveLength(140);
  expect(description.endsWith("😀…")).toBe(true);
  expect(Buffer.from(description, "utf8").toString("utf8")).toBe(description);
});
