import { describe, expect, test } from "vitest";
import { approvalPath, approvalPaths } from "../../../agent/trust/approvals.ts";
import { digestOf, type Lock, renderLock } from "../../../agent/trust/lock.ts";
import { emptyPointers, type VerifiedPointer } from "../../../agent/trust/pointers.ts";
import { type Root, rootNumbers } from "../../../agent/trust/root.ts";
import { findNewest } from "../../../agent/trust/root-chain.ts";
import { type ManifestInput, verifyManifest } from "../../../agent/trust/verify-approval.ts";
import { judge, makeRoot, makeSigner, rootJson } from "../../support/trust.ts";

const people = {
  alice: makeSigner(),
  alice2: makeSigner(),
  bob: makeSigner(),
  carol: makeSigner(),
  mallory: makeSigner(),
};
const { alice, alice2, bob, carol, mallory } = people;
const json = rootJson(
  { alice: [alice.publicLine, alice2.publicLine], bob: [bob.publicLine], carol: [carol.publicLine] },
  2,
);
const twoOfThree = makeRoot(json);

const policy = Buffer.from('{"version":1,"mode":"deny-all"}\n');
const lock: Lock = {
  version: 1,
  repository: "egress",
  branch: "main",
  group: "default",
  serial: 7,
  files: { "policy.json": digestOf(policy) },
};
const bytes = renderLock(lock);
const digest = digestOf(bytes);

const verifiedAt = (serial: number, lockDigest: string, root = 1): VerifiedPointer => ({
  ...emptyPointers.verified,
  root,
  serial,
  lockDigest,
});

const signed = (signatures: { [principal: string]: Buffer }) => new Map(Object.entries(signatures));
const both = signed({ alice: alice.sign(bytes), bob: bob.sign(bytes) });

const verify = (changes: Partial<ManifestInput> = {}) =>
  verifyManifest({
    root: twoOfThree,
    lockBytes: bytes,
    expected: { repository: "egress", branch: "main", group: "default" },
    verified: emptyPointers.verified,
    files: new Map([["policy.json", digestOf(policy)]]),
    signatures: both,
    insecure: false,
    ...judge,
    ...changes,
  });

/** The same, with another lock that alice and bob signed. */
const verifyLock = (changes: Partial<Lock>, input: Partial<ManifestInput> = {}) => {
  const lockBytes = renderLock({ ...lock, ...changes });
  return verify({
    lockBytes,
    signatures: signed({ alice: alice.sign(lockBytes), bob: bob.sign(lockBytes) }),
    ...input,
  });
};

describe("approved", () => {
  test("by two of three", () => {
    expect(verify()).toEqual({ ok: true, lock, lockDigest: digest, approvedBy: ["alice", "bob"] });
  });
  test("by all three", () => {
    const signatures = signed({ carol: carol.sign(bytes), alice: alice.sign(bytes), bob: bob.sign(bytes) });
    expect(verify({ signatures })).toMatchObject({ ok: true, approvedBy: ["alice", "bob", "carol"] });
  });
  test("with the second key of a person", () => {
    const signatures = signed({ alice: alice2.sign(bytes), carol: carol.sign(bytes) });
    expect(verify({ signatures })).toMatchObject({ ok: true, approvedBy: ["alice", "carol"] });
  });
  test("beside signatures that do not count", () => {
    const signatures = signed({ alice: alice.sign(bytes), bob: bob.sign(bytes), carol: Buffer.from("rubbish") });
    expect(verify({ signatures })).toMatchObject({ ok: true, approvedBy: ["alice", "bob"] });
  });
  test("again, when it is what was verified last", () => {
    expect(verify({ verified: verifiedAt(7, digest) })).toMatchObject({ ok: true });
  });
  test("with a serial that leaves some out", () => {
    expect(verify({ verified: verifiedAt(3, "00".repeat(32)) })).toMatchObject({ ok: true });
  });
  test("when older content comes back with a new serial and new signatures", () => {
    expect(verifyLock({ serial: 9 }, { verified: verifiedAt(8, "00".repeat(32)) })).toMatchObject({ ok: true });
  });
});

describe("not enough people", () => {
  const garbage = Buffer.from("-----BEGIN SSH SIGNATURE-----\n");
  const rows: readonly (readonly [string, { [principal: string]: Buffer }, string[], RegExp | null])[] = [
    ["nobody", {}, [], null],
    ["one of two", { alice: alice.sign(bytes) }, ["alice"], null],
    [
      "one person with two keys, under two names",
      { alice: alice.sign(bytes), bob: alice2.sign(bytes) },
      ["alice"],
      /a key of alice/,
    ],
    [
      "one signature under two names",
      { alice: alice.sign(bytes), bob: alice.sign(bytes) },
      ["alice"],
      /a key of alice/,
    ],
    [
      "somebody who is in no root",
      { alice: alice.sign(bytes), mallory: mallory.sign(bytes) },
      ["alice"],
      /no part in this role/,
    ],
    [
      "a stranger's key under a name of ours",
      { alice: alice.sign(bytes), bob: mallory.sign(bytes) },
      ["alice"],
      /root does not give to bob/,
    ],
    [
      "one signature for Git commits",
      { alice: alice.sign(bytes), bob: bob.sign(bytes, "git") },
      ["alice"],
      /namespace "git"/,
    ],
    [
      "one signature for roots",
      { alice: alice.sign(bytes), bob: bob.sign(bytes, "clawgress-root@v1") },
      ["alice"],
      /namespace/,
    ],
    [
      "one signature over the policy instead of the lock",
      { alice: alice.sign(bytes), bob: bob.sign(policy) },
      ["alice"],
      /does not fit/,
    ],
    [
      "one signature over an older lock",
      { alice: alice.sign(bytes), bob: bob.sign(renderLock({ ...lock, serial: 6 })) },
      ["alice"],
      /does not fit/,
    ],
    ["one damaged file", { alice: alice.sign(bytes), bob: garbage }, ["alice"], /armored/],
    ["one empty file", { alice: alice.sign(bytes), bob: Buffer.alloc(0) }, ["alice"], /armored/],
    ["two armors in one file", { bob: Buffer.concat([alice.sign(bytes), bob.sign(bytes)]) }, [], /armor/],
    ["a name that every object has", { alice: alice.sign(bytes), constructor: bob.sign(bytes) }, ["alice"], /no part/],
  ];
  test.each(rows)("%s", (_what, signatures, counted, why) => {
    const result = verify({ signatures: signed(signatures) });
    expect(result).toMatchObject({ ok: false, code: "TRUST_UNSIGNED", counted, missing: 2 - counted.length });
    const reasons = result.ok ? [] : result.rejected.map((rejected) => rejected.why);
    if (why === null) expect(reasons).toEqual([]);
    else expect(reasons).toEqual([expect.stringMatching(why)]);
  });
  test("the refusal says who is missing, and names the file that does not count", () => {
    const result = verify({ signatures: signed({ alice: alice.sign(bytes), bob: mallory.sign(bytes) }) });
    expect(result).toMatchObject({
      message: expect.stringMatching(
        /^serial 7 is approved by alice; 1 of 2 approvals are missing; "approvals\/.*bob\.sig/,
      ),
      remedy: "let 1 of bob, carol run `clawgress sign` and commit the approval",
      rejected: [{ file: approvalPath(digest, "bob") }],
    });
  });
  test("a person who left the root is not counted any more, on the same commit", () => {
    const { bob: _gone, ...rest } = json.principals as { [name: string]: { keys: readonly string[] } };
    const role = { principals: ["alice", "carol"], threshold: 2 };
    const root = makeRoot({ ...json, principals: rest, roles: { policy: role, root: role } });
    expect(verify({ root, verified: verifiedAt(7, digest) })).toMatchObject({
      ok: false,
      code: "TRUST_UNSIGNED",
      counted: ["alice"],
    });
  });
  test("a person of another role is not counted", () => {
    const roles = { ...json.roles, policy: { principals: ["alice", "carol"], threshold: 2 } };
    const root = makeRoot({ ...json, roles });
    expect(verify({ root })).toMatchObject({ ok: false, code: "TRUST_UNSIGNED", counted: ["alice"] });
  });
  test("a threshold of three is not reached by two", () => {
    const roles = { ...json.roles, policy: { ...json.roles.policy, threshold: 3 } };
    expect(verify({ root: makeRoot({ ...json, roles }) })).toMatchObject({ ok: false, missing: 1 });
  });
});

describe("for another place", () => {
  test.each([
    ["repository", "other"],
    ["branch", "release"],
    ["group", "lab"],
  ] as const)("a well-signed lock for another %s", (field, value) => {
    expect(verifyLock({ [field]: value })).toMatchObject({
      ok: false,
      code: "TRUST_WRONG_TARGET",
      message: expect.stringContaining(`the lock is for the ${field} "${value}"`),
    });
  });
  test("a root for another repository", () => {
    const root = makeRoot({ ...json, repository: "other" });
    expect(verify({ root })).toMatchObject({ ok: false, code: "TRUST_ROOT_INVALID" });
  });
});

describe("older than what was verified", () => {
  test("a lower serial, well signed", () => {
    expect(verify({ verified: verifiedAt(8, "00".repeat(32)) })).toMatchObject({ ok: false, code: "TRUST_ROLLBACK" });
  });
  test("a lower serial under the highest possible one", () => {
    const verified = verifiedAt(Number.MAX_SAFE_INTEGER, "00".repeat(32));
    expect(verify({ verified })).toMatchObject({ ok: false, code: "TRUST_ROLLBACK" });
  });
  test("the same serial with other content, well signed", () => {
    expect(verify({ verified: verifiedAt(7, "00".repeat(32)) })).toMatchObject({
      ok: false,
      code: "TRUST_EQUIVOCATION",
    });
  });
  test("the serial from which it starts again after a loss, of which no lock is known", () => {
    expect(verify({ verified: { ...emptyPointers.verified, root: 1, serial: 7 } })).toMatchObject({
      ok: false,
      code: "TRUST_ROLLBACK",
    });
    expect(verify({ verified: { ...emptyPointers.verified, root: 1, serial: 6 } })).toMatchObject({ ok: true });
  });
  test("an unsigned lock raises no alarm of equivocation", () => {
    const verified = verifiedAt(7, "00".repeat(32));
    expect(verify({ verified, signatures: new Map() })).toMatchObject({ ok: false, code: "TRUST_UNSIGNED" });
  });
  test("an older root than the one verified by before", () => {
    expect(verify({ verified: verifiedAt(6, "00".repeat(32), 2) })).toMatchObject({
      ok: false,
      code: "TRUST_ROLLBACK",
    });
  });
});

describe("files", () => {
  const rows: readonly (readonly [string, [string, string | null][], RegExp])[] = [
    ["changed after the approval", [["policy.json", digestOf(Buffer.from("{}"))]], /not the file that was approved/],
    ["missing", [["policy.json", null]], /listed in the lock but missing/],
    ["not read", [], /listed in the lock but missing/],
    [
      "read but not listed",
      [
        ["policy.json", digestOf(policy)],
        ["extra.json", "ab".repeat(32)],
      ],
      /"extra.json" is not listed/,
    ],
    [
      "a name that every object has",
      [
        ["policy.json", digestOf(policy)],
        ["toString", "ab".repeat(32)],
      ],
      /"toString" is not listed/,
    ],
  ];
  test.each(rows)("%s", (_what, files, message) => {
    expect(verify({ files: new Map(files) })).toMatchObject({
      ok: false,
      code: "TRUST_LOCK_MISMATCH",
      message: expect.stringMatching(message),
      counted: ["alice", "bob"],
    });
  });
  test("an approved lock that lists more than there is", () => {
    const files = { ...lock.files, "more.json": "ab".repeat(32) };
    expect(verifyLock({ files })).toMatchObject({ ok: false, code: "TRUST_LOCK_MISMATCH" });
  });
});

describe("no lock", () => {
  test("none in the commit", () => {
    expect(verify({ lockBytes: null })).toMatchObject({ ok: false, code: "TRUST_LOCK_INVALID" });
  });
  test("a malformed one, with its place", () => {
    expect(verify({ lockBytes: Buffer.from("{") })).toMatchObject({
      ok: false,
      code: "TRUST_LOCK_INVALID",
      message: expect.stringMatching(/^clawgress\.lock\.json:1:/),
    });
  });
});

describe("insecure", () => {
  const insecure = true;
  test("accepts a lock that nobody approved, and says that nobody did", () => {
    expect(verify({ insecure, signatures: new Map() })).toMatchObject({ ok: true, approvedBy: [] });
    expect(verify({ insecure })).toMatchObject({ ok: true, approvedBy: [] });
  });
  test.each([
    ["a rollback", { verified: verifiedAt(8, "00".repeat(32)) }, "TRUST_ROLLBACK"],
    ["an equivocation", { verified: verifiedAt(7, "00".repeat(32)) }, "TRUST_EQUIVOCATION"],
    ["another file", { files: new Map([["policy.json", "ab".repeat(32)]]) }, "TRUST_LOCK_MISMATCH"],
    ["another branch", { expected: { repository: "egress", branch: "x", group: "default" } }, "TRUST_WRONG_TARGET"],
    ["no lock", { lockBytes: null }, "TRUST_LOCK_INVALID"],
  ])("still refuses %s", (_what, changes: Partial<ManifestInput>, code) => {
    expect(verify({ insecure, signatures: new Map(), ...changes })).toMatchObject({ ok: false, code });
  });
});

test("the files that can be approvals are named by the root, not by the repository", () => {
  expect([...approvalPaths(twoOfThree, digest)]).toEqual(
    ["alice", "bob", "carol"].map((name) => [name, `approvals/${digest.slice(0, 16)}/${name}.sig`]),
  );
});

describe("the chain of roots in a commit", () => {
  const root: Root = { ...twoOfThree, root: 2 };
  test.each([
    ["up to the one in force", [1, 2], 2],
    ["none at all", [], 2],
    ["the next", [1, 2, 3], 3],
    ["several more", [1, 2, 3, 4, 5], 5],
    ["without those before", [3, 4], 4],
    ["a hole", [1, 2, 4], "trust/3.json is missing in the chain"],
    ["less than the one in force", [1], "the commit carries roots up to 1, this gateway follows 2"],
  ])("%s", (_what, numbers, expected) => {
    const found = findNewest(root, numbers);
    expect(found.ok ? found.newest : found.message).toBe(expected);
  });
  test("file names that are no roots are ignored", () => {
    const names = [
      "3.json.bak",
      "03.json",
      "3.JSON",
      "x3.json",
      "-3.json",
      "3.0.json",
      "10.json",
      "9.json",
      "1.json.sig",
    ];
    expect(rootNumbers(names)).toEqual([9, 10]);
  });
});
