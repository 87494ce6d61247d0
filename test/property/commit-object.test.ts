import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseCommitObject } from "../../agent/trust/commit-object.ts";
import { verifyCommit } from "../../agent/trust/verify-commit.ts";
import { bentCommits } from "../support/bent-commits.ts";
import { makeSignedCommits, type SignedCommits } from "../support/signed-commits.ts";
import { makeRoot } from "../support/trust.ts";

let made: SignedCommits;
beforeAll(() => {
  made = makeSignedCommits();
}, 60_000);
afterAll(() => made?.remove());

/** What Git's own readers see in an object, or null when they refuse it. */
function readByGit(raw: Buffer): { readonly tree: string; readonly parents: readonly string[] } | null {
  const { repository } = made;
  try {
    const oid = repository.writeObject("commit", raw);
    const [tree = "", parents = ""] = repository.git(["log", "--no-walk", "--format=%T%n%P", oid]).split("\n");
    return { tree, parents: parents.split(" ").filter((parent) => parent !== "") };
  } catch {
    return null;
  }
}

/** Runs can be raised for a campaign: `COMMIT_RUNS=20000 npx vitest run --project unit test/property/commit-object.test.ts`. */
const numRuns = Number(process.env["COMMIT_RUNS"] ?? 150);

test(
  "what we take as signed, Git takes as signed, and both see the same tree and parents",
  async () => {
    const role = { principals: Object.keys(made.sshKeys), threshold: 1 };
    const root = makeRoot({
      ...{ version: 1, root: 1, repository: "egress" },
      principals: Object.fromEntries(Object.entries(made.sshKeys).map(([name, keys]) => [name, { keys }])),
      roles: { policy: role, root: role },
    });
    const raws = [
      "ssh ed25519",
      "no newline at the end",
      "carriage returns",
      "an octopus",
      "a merged tag",
      "an encoding header",
    ]
      .map((name) => made.samples.get(name)?.raw)
      .filter((raw) => raw !== undefined);
    const seen = { parsed: 0, signed: 0 };
    await fc.assert(
      fc.asyncProperty(bentCommits(raws), async (raw) => {
        const parsed = parseCommitObject(raw);
        if (!parsed.ok) return;
        seen.parsed += 1;
        const { tree, parents } = parsed.value;
        expect(readByGit(raw)).toEqual({ tree, parents });
        const verdict = await verifyCommit({
          revoked: new Set<string>(),
          seenAtMs: Date.now(),
          root,
          commit: parsed.value,
          checkOpenPgp: null,
        });
        if (verdict.ok) seen.signed += 1;
        const git = made.askGit(raw);
        // Nothing is signed here but what Git says is signed; the one reverse is an armor that is not spelled as its maker spells it.
        if (verdict.ok) expect(git).toBe(true);
        else if (git) expect(verdict.message).toMatch(/armor|carriage returns|base64/);
      }),
      { numRuns },
    );
    expect(seen.parsed).toBeGreaterThan(numRuns / 20);
  },
  Math.max(60_000, numRuns * 100),
);

test("any bytes give a commit or a sentence, in linear time", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2_000 }), (bytes) => {
      const parsed = parseCommitObject(Buffer.from(bytes));
      expect(parsed.ok || parsed.why.length > 0).toBe(true);
    }),
    { numRuns: 500 },
  );
  const long = Buffer.from(`tree ${"1".repeat(40)}\n${"x y\n".repeat(260_000)}`);
  const startedAt = performance.now();
  expect(parseCommitObject(long).ok).toBe(false);
  expect(performance.now() - startedAt).toBeLessThan(2_000);
});
