import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadOpenPgp } from "../../../agent/host/openpgp.ts";
import { parseCommitObject } from "../../../agent/trust/commit-object.ts";
import type { Root } from "../../../agent/trust/root.ts";
import { type OpenPgpCheck, verifyCommit } from "../../../agent/trust/verify-commit.ts";
import { makeSignedCommits, type SignedCommits } from "../../support/signed-commits.ts";
import { makeRoot } from "../../support/trust.ts";

let made: SignedCommits;
let root: Root;
let checkOpenPgp: OpenPgpCheck;

beforeAll(async () => {
  made = makeSignedCommits();
  const people = Object.entries(made.sshKeys).map(([name, keys]) => {
    const openpgp = made.openPgpKeys[name];
    return [name, openpgp === undefined ? { keys } : { keys, openpgp }] as const;
  });
  const role = { principals: people.map(([name]) => name), threshold: 1 };
  root = makeRoot({
    ...{ version: 1, root: 1, repository: "egress" },
    principals: Object.fromEntries(people),
    roles: { policy: role, root: role },
  });
  checkOpenPgp = await loadOpenPgp();
}, 60_000);
afterAll(() => made?.remove());

/** Who signed, or why nobody did. */
async function judge(raw: Buffer): Promise<string> {
  const commit = parseCommitObject(raw);
  if (!commit.ok) return `malformed: ${commit.why}`;
  const result = await verifyCommit({
    revoked: new Set<string>(),
    seenAtMs: Date.now(),
    root,
    commit: commit.value,
    checkOpenPgp,
  });
  return result.ok ? result.principal : `${result.code}: ${result.message}`;
}
const sample = (name: string) => {
  const found = made.samples.get(name);
  if (found === undefined) throw new Error(`no sample ${name}`);
  return found;
};

describe("agrees with git verify-commit", () => {
  test.each([
    ["ssh ed25519", "alice"],
    ["ssh rsa", "alice"],
    ["ssh p256", "bob"],
    ["ssh p384", "bob"],
    ["ssh p521", "carol"],
    ["security key, touched", "carol"],
    ["an empty message", "alice"],
    ["no newline at the end", "alice"],
    ["carriage returns", "alice"],
    ["an encoding header", "alice"],
    ["a message with header lines", "alice"],
    ["openpgp ed25519", "alice"],
    ["openpgp rsa", "alice"],
    ["openpgp nistp256", "bob"],
    ["openpgp subkey", "bob"],
    ["a merge", "alice"],
    ["an octopus", "alice"],
    ["a merged tag", "alice"],
  ])("%s is signed by %s", async (name, who) => {
    expect({ git: sample(name).git, ours: await judge(sample(name).raw) }).toEqual({ git: true, ours: who });
  });

  test.each([
    ["no signature", /no signature/],
    ["a stranger's ssh key", /made with another key: SHA256:/],
    ["a stranger's openpgp key", /made with another key/],
    ["an expired openpgp key, backdated", /of alice does not count: .*expired/i],
    ["a revoked openpgp key", /of bob does not count: .*revoked/i],
  ])("%s is not signed", async (name, why) => {
    expect(sample(name).git).toBe(false);
    expect(await judge(sample(name).raw)).toMatch(why);
  });
});

describe("an OpenPGP key", () => {
  const judgeBy = async (other: Root, revoked: readonly string[]): Promise<boolean> => {
    const commit = parseCommitObject(sample("openpgp ed25519").raw);
    if (!commit.ok) throw new Error(commit.why);
    const question = {
      root: other,
      revoked: new Set(revoked),
      seenAtMs: Date.now(),
      commit: commit.value,
      checkOpenPgp,
    };
    return (await verifyCommit(question)).ok;
  };

  test("of somebody outside the role does not count", async () => {
    expect(await judgeBy(root, [])).toBe(true);
    const without = root.roles.policy.principals.filter((name) => name !== "alice");
    const policy = { ...root.roles.policy, principals: without };
    expect(await judgeBy({ ...root, roles: { ...root.roles, policy } }, [])).toBe(false);
  });

  test("that is revoked does not count, whether the root or the gateway says so", async () => {
    const alice = root.principals.find(({ name }) => name === "alice");
    const fingerprints = alice?.openpgp.map(({ fingerprint }) => fingerprint) ?? [];
    expect(fingerprints.length).toBeGreaterThan(0);
    expect(await judgeBy(root, fingerprints)).toBe(false);
    expect(await judgeBy({ ...root, revoked: new Set(fingerprints) }, [])).toBe(false);
  });
});

test("an OpenPGP key that has expired since the commit was first seen counted then and does now", async () => {
  const seen = seeing("an expired openpgp key, backdated");
  expect([await seen("2020-12-31T23:59:59Z"), await seen("2021-01-01T00:00:00Z")]).toEqual([true, false]);
});

test("when an OpenPGP signature says that it was made changes nothing, be it after the commit was first seen", async () => {
  const seen = seeing("openpgp ed25519");
  expect([await seen("2020-01-01T00:00:00Z"), await seen(new Date().toISOString())]).toEqual([true, true]);
});

/** Returns whether a sample counts when it was first seen at a time. */
function seeing(name: string): (seenAt: string) => Promise<boolean> {
  const commit = parseCommitObject(sample(name).raw);
  if (!commit.ok) throw new Error(commit.why);
  return async (seenAt) => {
    const question = {
      root,
      revoked: new Set<string>(),
      seenAtMs: Date.parse(seenAt),
      commit: commit.value,
      checkOpenPgp,
    };
    return (await verifyCommit(question)).ok;
  };
}

describe("is stricter than git verify-commit", () => {
  test.each([
    ["security key, not touched", /not touched/],
    ["openpgp over SHA-1", /SHA1|insecure/i],
    ["openpgp in text mode", /not a signature of binary data/],
  ])("%s", async (name, why) => {
    expect(sample(name).git).toBe(true);
    expect(await judge(sample(name).raw)).toMatch(why);
  });
});

describe("GB15 a signature covers exactly one commit", () => {
  const EVIL = "e".repeat(40);
  /** The commit with lines put in, by the place: before which line of the header, in what text. */
  const insert = (raw: Buffer, before: string, lines: string): Buffer => {
    const text = raw.toString("latin1");
    const at = text.indexOf(before);
    return Buffer.from(text.slice(0, at) + lines + text.slice(at), "latin1");
  };
  test.each([
    ["a second tree behind a false signature header", "gpgsig -", `gpgsig x\ntree ${EVIL}\n`],
    ["a second tree at the top", "tree ", `tree ${EVIL}\n`],
    ["a second tree behind the committer", "gpgsig -", `tree ${EVIL}\n`],
    ["a second signature", "gpgsig -", "gpgsig -----BEGIN SSH SIGNATURE-----\n AAAA\n -----END SSH SIGNATURE-----\n"],
    ["a second signature behind the first", "\n\n", "\ngpgsig x"],
    ["a parent behind the committer", "gpgsig -", `parent ${EVIL}\n`],
    ["a header between the lines of the signature", " -----END", `tree ${EVIL}\n`],
    ["a signature for another hash", "gpgsig -", "gpgsig-sha256 -----BEGIN SSH SIGNATURE-----\n"],
    ["a tree that goes on in a second line", "parent", " more\n"],
    ["a NUL in the message", "no newline", "\0"],
  ])("%s is malformed", async (_, before, lines) => {
    const raw = insert(sample("no newline at the end").raw, before, lines);
    expect(await judge(raw)).toMatch(/^malformed: /);
  });
});

describe("GB16 an SSH signature holds for the bytes that were signed and no others", () => {
  const change: readonly (readonly [string, (text: string) => string])[] = [
    ["a carriage return in the message", (text) => text.replace(/no newline$/, "no\r newline")],
    ["a newline at the end", (text) => `${text}\n`],
    ["a space at the end", (text) => `${text} `],
    ["another tree", (text) => text.replace(/^tree .{40}/, `tree ${"e".repeat(40)}`)],
    ["another parent", (text) => text.replace(/\nparent .{40}/, `\nparent ${"e".repeat(40)}`)],
    ["no parent", (text) => text.replace(/\nparent .{40}/, "")],
    ["another committer", (text) => text.replace("committer Ada", "committer Eve")],
    ["another date", (text) => text.replace(/(committer .*> )\d+/, "$11")],
  ];
  test.each(change)("%s", async (_, bend) => {
    const raw = Buffer.from(bend(sample("no newline at the end").raw.toString("latin1")), "latin1");
    expect(raw.equals(sample("no newline at the end").raw)).toBe(false);
    expect({ git: made.askGit(raw), ours: await judge(raw) }).toEqual({
      git: false,
      ours: expect.stringMatching(/does not fit the content/),
    });
  });
});

test("GB18 nobody is asked whether the signature is good: the root alone says whose key it is", async () => {
  const commit = parseCommitObject(sample("ssh ed25519").raw);
  if (!commit.ok) throw new Error(commit.why);
  const without = makeRoot({
    ...{ version: 1, root: 2, repository: "egress" },
    principals: { bob: { keys: made.sshKeys["bob"] } },
    roles: { policy: { principals: ["bob"], threshold: 1 }, root: { principals: ["bob"], threshold: 1 } },
  });
  // The forge shows this commit as verified for ever; here a key that left the root counts for nothing from then on.
  const result = await verifyCommit({
    revoked: new Set<string>(),
    seenAtMs: Date.now(),
    root: without,
    commit: commit.value,
    checkOpenPgp,
  });
  expect(result).toMatchObject({ ok: false, code: "TRUST_COMMIT_UNSIGNED" });
});

test.each(["GitHub <noreply@github.com>", "GitLab <noreply@gitlab.com>", "Forgejo <forge@example.org>"])(
  "GB19 a commit that %s made in a web page is unsigned, and the remedy says why",
  async (account) => {
    const text = sample("a stranger's openpgp key")
      .raw.toString("latin1")
      .replace(/committer [^>]*>/, `committer ${account}`);
    const commit = parseCommitObject(Buffer.from(text, "latin1"));
    if (!commit.ok) throw new Error(commit.why);
    expect(
      await verifyCommit({
        revoked: new Set<string>(),
        seenAtMs: Date.now(),
        root,
        commit: commit.value,
        checkOpenPgp,
      }),
    ).toMatchObject({
      code: "TRUST_COMMIT_UNSIGNED",
      remedy: expect.stringMatching(/made this commit in a web page.*"manifest"/),
    });
  },
);

test.each(["99999999999999999999 +0000", "-1 -9999", "0 +2400", "x"])("GA20 the date %s is not read", async (date) => {
  const people = `author Ada <ada@example.org> ${date}\ncommitter Ada <ada@example.org> ${date}`;
  expect(await judge(made.signBySsh(`tree ${"1".repeat(40)}\n${people}\n\ndated\n`))).toBe("alice");
});

describe("GB2 a key that is revoked or has expired signs no commit, whatever date the commit claims", () => {
  const keyOfAlice = () => made.sshKeys["alice"]?.[0] ?? "";
  const rootWith = (principal: object, more: object = {}) => {
    const role = { principals: ["alice"], threshold: 1 };
    const roles = { policy: role, root: role };
    return makeRoot({ version: 1, root: 1, repository: "egress", principals: { alice: principal }, roles, ...more });
  };
  const judgeBy = async (by: Root, revoked: readonly string[] = [], seenAt = "2026-11-26T00:00:00Z") => {
    const commit = parseCommitObject(sample("ssh ed25519").raw);
    if (!commit.ok) throw new Error(commit.why);
    const seenAtMs = Date.parse(seenAt);
    return await verifyCommit({
      root: by,
      revoked: new Set(revoked),
      seenAtMs,
      commit: commit.value,
      checkOpenPgp: null,
    });
  };
  const fingerprint = (by: Root): string => by.principals[0]?.keys[0]?.fingerprint ?? "";

  test("revoked by the root, or by a file on the gateway", async () => {
    const sound = rootWith({ keys: [keyOfAlice(), made.sshKeys["bob"]?.[0]] });
    expect(await judgeBy(sound)).toMatchObject({ ok: true, principal: "alice" });
    const why = { ok: false, message: expect.stringMatching(/is revoked/) };
    expect(await judgeBy(sound, [fingerprint(sound)])).toMatchObject(why);
    const both = { keys: [keyOfAlice(), made.sshKeys["bob"]?.[0]] };
    expect(await judgeBy(rootWith(both, { revoked: [fingerprint(sound)] }))).toMatchObject(why);
  });

  test("expired when the gateway first saw the commit", async () => {
    const dated = rootWith({ keys: [{ key: keyOfAlice(), expires: "2026-11-26T00:00:00Z" }] });
    expect(await judgeBy(dated, [], "2026-11-25T23:59:59Z")).toMatchObject({ ok: true });
    expect(await judgeBy(dated)).toMatchObject({ ok: false, message: expect.stringMatching(/counts until/) });
  });
});

test("a principal who is not in the role does not count", async () => {
  const commit = parseCommitObject(sample("ssh p256").raw);
  if (!commit.ok) throw new Error(commit.why);
  const roles = { ...root.roles, policy: { principals: ["alice"], threshold: 1, tighten: 1 } };
  const result = await verifyCommit({
    revoked: new Set<string>(),
    seenAtMs: Date.now(),
    root: { ...root, roles },
    commit: commit.value,
    checkOpenPgp,
  });
  expect(result).toMatchObject({ ok: false, message: expect.stringMatching(/another key/) });
});

test("a signature for a lock does not stand for a commit", async () => {
  const { insertSignature } = await import("../../support/signed-commits.ts");
  const { makeSigner } = await import("../../support/trust.ts");
  const dora = makeSigner();
  const payload = Buffer.from(`tree ${"1".repeat(40)}\nauthor A <a@b> 0 +0000\ncommitter A <a@b> 0 +0000\n\nm\n`);
  const role = { principals: ["dora"], threshold: 1 };
  const hers = makeRoot({
    ...{ version: 1, root: 1, repository: "egress" },
    principals: { dora: { keys: [dora.publicLine] } },
    roles: { policy: role, root: role },
  });
  for (const [namespace, ok] of [
    ["git", true],
    ["clawgress-policy@v1", false],
    ["file", false],
  ] as const) {
    const commit = parseCommitObject(insertSignature(payload, dora.sign(payload, namespace)));
    if (!commit.ok) throw new Error(commit.why);
    expect(
      await verifyCommit({
        revoked: new Set<string>(),
        seenAtMs: Date.now(),
        root: hers,
        commit: commit.value,
        checkOpenPgp: null,
      }),
    ).toMatchObject({ ok });
  }
});
