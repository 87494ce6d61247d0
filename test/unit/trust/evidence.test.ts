import { describe, expect, test } from "vitest";
import { decodeEvidence, type Evidence, encodeEvidence, seenAtOf } from "../../../agent/trust/evidence.ts";
import { digestOf, renderLock } from "../../../agent/trust/lock.ts";

const lockBytes = renderLock({
  ...{ version: 1, repository: "egress", branch: "main", group: "default", serial: 7 },
  files: { "policy.json": "ab".repeat(32) },
});
const lockDigest = digestOf(lockBytes);
const seenAtMs = Date.parse("2026-11-26T00:00:00Z");
const evidence: Evidence = {
  ...{ lockDigest, part: null, lockBytes, needs: [{ rule: "policy", tightens: true }] },
  signatures: new Map([["alice", { bytes: Buffer.from("signature"), seenAtMs }]]),
};
const text = encodeEvidence(evidence).toString();

describe("evidence", () => {
  test("is read as it was written", () => {
    expect(decodeEvidence(encodeEvidence(evidence), lockDigest)).toEqual(evidence);
  });
  test("of another lock is none", () => {
    expect(decodeEvidence(encodeEvidence(evidence), "00".repeat(32))).toBeNull();
  });
  test.each([
    ["another version", text.replace('"version":1', '"version":2')],
    ["a time that is none", text.replace("2026-11-26", "2026-13-26")],
    ["half of it", text.slice(0, text.length / 2)],
    ["a list", "[]"],
  ])("with %s is none", (_what, content) => {
    expect(decodeEvidence(Buffer.from(content), lockDigest)).toBeNull();
  });
});

describe("when a signature was first seen", () => {
  const later = seenAtMs + 1000;
  const at = (bytes: string, kept: Evidence | null = evidence): number =>
    seenAtOf(kept, new Map([["alice", Buffer.from(bytes)]]), later)("alice");
  test("is kept with its bytes, and no other's", () => {
    expect(at("signature")).toBe(seenAtMs);
    expect(at("another signature")).toBe(later);
    expect(at("signature", null)).toBe(later);
    expect(seenAtOf(evidence, new Map(), later)("alice")).toBe(later);
  });
});
