import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { init } from "../../../agent/commands/init.ts";
import { createOutput } from "../../../agent/commands/output.ts";
import { type RotateOptions, rotate } from "../../../agent/commands/rotate.ts";
import { type SignOptions, sign } from "../../../agent/commands/sign.ts";
import { verify } from "../../../agent/commands/verify.ts";
import { AgentError } from "../../../agent/errors.ts";
import { openCommitTree } from "../../../agent/host/git-command.ts";
import { parseCommitObject } from "../../../agent/trust/commit-object.ts";
import { renderRecovery } from "../../../agent/trust/recovery.ts";
import { makeFolder, makeSshKey } from "../../support/ssh-keys.ts";
import { git } from "../../support/trust.ts";
import { makeTrustGateway, type TrustGateway } from "../../support/trust-gateway.ts";

/** What teams do with pull requests and keys, with real keys, real Git and a gateway that follows the branch. */

const { folder, remove } = makeFolder();
afterAll(remove);
const keyFolder = join(folder, "keys");
mkdirSync(keyFolder);
const people = Object.fromEntries(
  ["alice", "bob", "carol", "dave", "bot"].map((name) => [name, makeSshKey(keyFolder, name)]),
);
const keyOf = (name: string): string => people[name]?.path ?? "";
const server = join(folder, "server.git");
const work = join(folder, "work");
let gateway: TrustGateway;

interface Ran {
  readonly status: number | string;
  readonly lines: string;
}

async function ran(run: (output: ReturnType<typeof createOutput>) => Promise<number>): Promise<Ran> {
  let lines = "";
  const write = (text: string): void => {
    lines += text;
  };
  try {
    return { status: await run(createOutput({ json: false, color: false }, { write }, { write: () => {} })), lines };
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    return { status: error.code, lines: `${error.message}\n→ ${error.remedy}` };
  }
}
const signAs = (name: string, clone = work, options: Partial<SignOptions> = {}): Promise<Ran> =>
  ran((output) => sign({ repositoryFolder: clone, key: keyOf(name), ...options }, output));
const rotateIn = (options: Omit<RotateOptions, "repositoryFolder">): Promise<Ran> =>
  ran((output) => rotate({ repositoryFolder: work, ...options }, output));
const verifyIn = (clone = work, options: { root?: string; commit?: string } = {}): Promise<Ran> =>
  ran((output) => verify({ repositoryFolder: clone, ...options }, output));
const policy = (...domains: readonly string[]): string =>
  `${JSON.stringify({ version: 1, allow: { domains, ports: [443] } }, null, 2)}\n`;
const commit = (clone: string, message: string): void => {
  git(clone, "add", "-A");
  git(clone, "commit", "-q", "-m", message);
};
/** A clone with the identity that a rebase needs. */
const clone = (name: string): string => {
  const path = join(folder, name);
  rmSync(path, { recursive: true, force: true });
  git(folder, "clone", "-q", server, path);
  for (const [key, value] of [
    ["user.name", name],
    ["user.email", `${name}@example.test`],
  ] as const)
    git(path, "config", key, value);
  return path;
};
/** Shows the gateway the head of the branch on the server. */
const poll = async () => {
  const head = git(server, "rev-parse", "main");
  const raw = execFileSync("git", ["-C", server, "cat-file", "commit", head]);
  const object = parseCommitObject(raw);
  if (!object.ok) throw new Error(object.why);
  return await gateway.enforce({ commit: head, raw, object: object.value, ...openCommitTree(server, head) });
};

/** A repository with serial 1 and a gateway that has verified it; made once, copied for each test. */
const template = join(folder, "template");
beforeAll(async () => {
  git(folder, "init", "-q", "--bare", "--initial-branch=main", server);
  git(folder, "init", "-q", "--initial-branch=main", work);
  for (const [key, value] of [
    ["user.name", "work"],
    ["user.email", "work@example.test"],
  ] as const)
    git(work, "config", key, value);
  git(work, "remote", "add", "origin", server);
  const principal = ["alice", "bob", "carol"].map((name) => `${name}=${keyOf(name)}.pub`);
  const options = { name: "egress", principal, threshold: 2, group: "default", branch: "main", config: "" };
  expect((await ran((output) => init({ repositoryFolder: work, ...options }, output))).status).toBe(0);
  writeFileSync(join(work, "policy.json"), policy("a.test", "b.test", "c.test"));
  for (const name of ["alice", "bob"]) expect((await signAs(name)).status).toBe(0);
  commit(work, "serial 1");
  git(work, "push", "-q", "origin", "main");
  mkdirSync(join(folder, "gateway"));
  gateway = await makeTrustGateway({
    folder: join(folder, "gateway"),
    root: readFileSync(join(work, "trust", "1.json")),
  });
  expect(await poll()).toMatchObject({ code: "approved", approvedBy: ["alice", "bob"] });
  mkdirSync(template);
  execFileSync("cp", ["-a", server, work, join(folder, "gateway"), template]);
});
beforeEach(async () => {
  for (const name of ["server.git", "work", "gateway"]) {
    rmSync(join(folder, name), { recursive: true, force: true });
    execFileSync("cp", ["-a", join(template, name), folder]);
  }
  const root = readFileSync(join(work, "trust", "1.json"));
  gateway = await makeTrustGateway({ folder: join(folder, "gateway"), root, keepState: true });
});

/** The three ways in which a forge merges a branch; by whom, does not matter. */
const merges = {
  squash: (branch: string) => {
    git(work, "merge", "-q", "--squash", branch);
    git(work, "commit", "-q", "-m", `squashed ${branch}`);
  },
  merge: (branch: string) => git(work, "merge", "-q", "--no-ff", "-m", `merged ${branch}`, branch),
  rebase: (branch: string) => {
    git(work, "switch", "-q", "-C", `${branch}-rebased`, branch);
    git(work, "rebase", "-q", "main");
    git(work, "switch", "-q", "main");
    git(work, "merge", "-q", "--ff-only", `${branch}-rebased`);
  },
} as const;
const land = (how: keyof typeof merges, branch: string): void => {
  git(work, "switch", "-q", "main");
  git(work, "pull", "-q", "--ff-only", "origin", "main");
  git(work, "fetch", "-q", "origin", branch);
  git(work, "branch", "-q", "-f", branch, `origin/${branch}`);
  merges[how](branch);
  git(work, "push", "-q", "origin", "main");
};

describe.each(["squash", "merge", "rebase"] as const)("two pull requests in flight, each landed by %s", (how) => {
  const propose = async (name: string, branch: string, domains: readonly string[]): Promise<string> => {
    const path = clone(name);
    git(path, "switch", "-q", "-c", branch);
    writeFileSync(join(path, "policy.json"), policy(...domains));
    commit(path, `${branch}: the change`);
    for (const signer of ["alice", "bob"]) expect((await signAs(signer, path)).status).toBe(0);
    commit(path, `${branch}: the lock`);
    git(path, "push", "-q", "origin", branch);
    return path;
  };

  test("the second conflicts in the lock, and is brought up to date and signed again by one command each", async () => {
    await propose("one", "first", ["first.test", "a.test", "b.test", "c.test"]);
    const second = await propose("two", "second", ["a.test", "b.test", "c.test", "second.test"]);
    land(how, "first");
    expect(await poll()).toMatchObject({ code: "approved" });
    expect(() => land(how, "second")).toThrow(/clawgress\.lock\.json|CONFLICT|Command failed/);
    git(work, how === "rebase" ? "rebase" : "reset", how === "rebase" ? "--abort" : "--hard");
    git(work, "switch", "-q", "--discard-changes", "main");

    const rebased = await signAs("alice", second, { rebase: true });
    expect(rebased).toMatchObject({ status: 0, lines: expect.stringMatching(/Brought second on top of origin\/main/) });
    expect(rebased.lines).toMatch(
      /alice approved serial 2 of this before \(commit [0-9a-f]{12}\)\. Since then:\n +\+ .*first\.test on 443\/tcp\n/,
    );
    expect(rebased.lines).toContain("git push --force-with-lease");
    commit(second, "policy: serial 3");
    git(second, "push", "-q", "--force-with-lease", "origin", "second");
    const bobs = clone("bobs");
    git(bobs, "switch", "-q", "second");
    expect(await signAs("bob", bobs)).toMatchObject({
      status: 0,
      lines: expect.stringMatching(/Enough people have approved/),
    });
    commit(bobs, "bob approves");
    git(bobs, "push", "-q", "origin", "second");
    land(how, "second");
    expect(await poll()).toMatchObject({ code: "approved", approvedBy: ["alice", "bob"] });
    expect((await gateway.pointers()).verified.serial).toBe(3);
    expect(readFileSync(join(work, "policy.json"), "utf8")).toBe(
      policy("first.test", "a.test", "b.test", "c.test", "second.test"),
    );
  });

  test("a rotation that lands between them: who left does not count any more", async () => {
    const open = await propose("one", "first", ["first.test", "a.test", "b.test", "c.test"]);
    const rotated = await rotateIn({ principal: [`dave=${keyOf("dave")}.pub`], remove: ["bob"] });
    expect(rotated).toMatchObject({
      status: 0,
      lines: expect.stringMatching(/- principal bob[\s\S]*\+ principal dave/),
    });
    for (const name of ["alice", "carol"]) expect((await signAs(name, work, { rootOfTrust: true })).status).toBe(0);
    for (const name of ["alice", "carol"]) expect((await signAs(name)).status).toBe(0);
    commit(work, "root 2");
    git(work, "push", "-q", "origin", "main");
    expect(await poll()).toMatchObject({ code: "approved" });
    land(how, "first");
    expect(await poll()).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(/approved by alice; 1 of 2/),
    });
    expect(existsSync(open)).toBe(true);
    expect(await signAs("dave")).toMatchObject({ status: 0 });
    commit(work, "dave approves");
    git(work, "push", "-q", "origin", "main");
    expect(await poll()).toMatchObject({ code: "approved", approvedBy: ["alice", "dave"] });
  });

  test("two rotations in one pull request", async () => {
    git(work, "switch", "-q", "-c", "rotations");
    await rotateIn({ principal: [`dave=${keyOf("dave")}.pub`] });
    for (const name of ["alice", "bob"]) await signAs(name, work, { rootOfTrust: true });
    commit(work, "root 2");
    await rotateIn({ remove: ["alice"], threshold: 2 });
    for (const name of ["alice", "bob", "dave"])
      expect((await signAs(name, work, { rootOfTrust: true })).status).toBe(0);
    for (const name of ["carol"]) expect((await signAs(name)).status).toBe(0);
    commit(work, "root 3");
    git(work, "push", "-q", "origin", "rotations");
    expect(await verifyIn(work, { root: join(work, "trust", "1.json") })).toMatchObject({ status: 0 });
    land(how, "rotations");
    expect(await poll()).toMatchObject({ code: "approved", approvedBy: ["bob", "carol"] });
    expect((await gateway.pointers()).verified).toMatchObject({ root: 3, serial: 1 });
  });
});

describe("bringing a pull request up to date", () => {
  test("a bot's pull request is signed by people who push to its branch", async () => {
    const bots = clone("bots");
    git(bots, "switch", "-q", "-c", "bump");
    writeFileSync(join(bots, "policy.json"), policy("a.test", "b.test", "c.test", "bumped.test"));
    commit(bots, "bump");
    git(bots, "push", "-q", "origin", "bump");
    for (const name of ["alice", "carol"]) {
      const own = clone(name);
      git(own, "switch", "-q", "bump");
      expect((await signAs(name, own)).status).toBe(0);
      commit(own, `${name} approves`);
      git(own, "push", "-q", "origin", "bump");
    }
    land("squash", "bump");
    expect(await poll()).toMatchObject({ code: "approved", approvedBy: ["alice", "carol"] });
  });

  const prepare = async (): Promise<string> => {
    const path = clone("one");
    git(path, "switch", "-q", "-c", "change");
    writeFileSync(join(path, "policy.json"), policy("mine.test", "a.test", "b.test", "c.test"));
    await signAs("alice", path);
    commit(path, "change");
    return path;
  };
  test("a change that both sides made is left to people, and nothing is touched", async () => {
    const path = await prepare();
    writeFileSync(join(work, "policy.json"), policy("theirs.test", "a.test", "b.test", "c.test"));
    for (const name of ["alice", "bob"]) await signAs(name);
    commit(work, "theirs");
    git(work, "push", "-q", "origin", "main");
    const before = [git(path, "rev-parse", "HEAD"), git(path, "status", "--porcelain")];
    expect(await signAs("alice", path, { rebase: true })).toMatchObject({
      status: "USAGE",
      lines: expect.stringMatching(/both sides changed policy\.json[\s\S]*git rebase origin\/main/),
    });
    expect([git(path, "rev-parse", "HEAD"), git(path, "status", "--porcelain")]).toEqual(before);
  });
  test("what is up to date is only signed", async () => {
    const path = await prepare();
    expect(await signAs("bob", path, { rebase: true })).toMatchObject({
      status: 0,
      lines: expect.stringMatching(/is up to date with origin\/main/),
    });
  });
  test.each<[string, (path: string) => void, RegExp]>([
    [
      "on the branch of the gateways itself",
      (path) => git(path, "switch", "-q", "main"),
      /switch to the branch of the pull request/,
    ],
    ["without a branch", (path) => git(path, "switch", "-q", "--detach"), /switch to the branch of the pull request/],
    [
      "with changes that are not committed",
      (path) => writeFileSync(join(path, "policy.json"), policy("x.test")),
      /commit them first/,
    ],
    [
      "with a remote that does not answer",
      (path) => git(path, "remote", "set-url", "origin", join(folder, "nowhere")),
      /cannot fetch main from origin/,
    ],
  ])("refused %s", async (_what, spoil, why) => {
    const path = await prepare();
    spoil(path);
    expect(await signAs("alice", path, { rebase: true })).toMatchObject({
      status: "USAGE",
      lines: expect.stringMatching(why),
    });
  });
});

describe("roots", () => {
  test("a lost key: the others revoke it, its owner gets another, and what it signed counts no more", async () => {
    const fresh = makeSshKey(keyFolder, `bob-${Date.now()}`);
    const rotated = await rotateIn({ principal: [`bob=${fresh.path}.pub`], revoke: [`${keyOf("bob")}.pub`] });
    expect(rotated.lines).toMatch(
      /- bob: key SHA256:\S+ \(ssh-ed25519\)[\s\S]*\+ bob: key SHA256:[\s\S]*revoked: SHA256:\S+ counts nowhere any more/,
    );
    expect(await signAs("alice", work, { rootOfTrust: true })).toMatchObject({
      status: 0,
      lines: expect.stringMatching(
        /As trust\/1\.json asks: approved by alice, 1 of 2; 1 more of bob, carol must approve/,
      ),
    });
    expect(await signAs("carol", work, { rootOfTrust: true })).toMatchObject({
      lines: expect.stringMatching(/Enough people have approved/),
    });
    commit(work, "root 2");
    git(work, "push", "-q", "origin", "main");
    expect(await poll()).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(/approved by alice; 1 of 2/),
    });
    expect(await gateway.look()).toMatchObject({ root: 2, alarms: [{ code: "TRUST_REVOKED" }] });
    expect(await signAs("carol")).toMatchObject({ lines: expect.stringMatching(/the same bytes are approved/) });
    commit(work, "carol approves what is there");
    git(work, "push", "-q", "origin", "main");
    expect(await poll()).toMatchObject({ code: "approved", approvedBy: ["alice", "carol"] });
    expect(await gateway.look()).toMatchObject({ alarms: [] });
    expect((await signAs("bob")).status).toBe("USAGE");
    expect((await ran((output) => sign({ repositoryFolder: work, key: fresh.path }, output))).status).toBe(0);
  });
  test("somebody who replaces a key that is not lost signs with both", async () => {
    const fresh = makeSshKey(keyFolder, `alice-${Date.now()}`);
    await rotateIn({ principal: [`alice=${fresh.path}.pub`], revoke: [`${keyOf("alice")}.pub`], threshold: 2 });
    await signAs("alice", work, { rootOfTrust: true });
    await ran((output) => sign({ repositoryFolder: work, key: fresh.path, rootOfTrust: true }, output));
    expect(await signAs("bob", work, { rootOfTrust: true })).toMatchObject({
      lines: expect.stringMatching(/Enough people/),
    });
    expect(readdirSync(join(work, "trust", "2", "by-1"))).toEqual(["alice.sig", "bob.sig"]);
    expect(readdirSync(join(work, "trust", "2", "by-2"))).toEqual(["alice.sig", "bob.sig"]);
  });
  test.each<[string, Omit<RotateOptions, "repositoryFolder">, RegExp]>([
    ["that nobody could ever fill", { remove: ["alice", "bob"] }, /from 1 to 1/],
    ["without somebody who is not there", { remove: ["mallory"] }, /no principal "mallory"/],
    ["with half of a restart", { voidSerials: 100 }, /belong together/],
    ["with a key of somebody else", { principal: [`dave=${keyOf("alice")}.pub`] }, /stands here and at/],
    ["with a threshold of 0", { threshold: 0 }, /from 1 to 3/],
    ["with a key that is none", { revoke: ["/etc/hostname"] }, /no public key/],
  ])("none is made %s", async (_what, options, why) => {
    expect(await rotateIn(options)).toMatchObject({ status: "USAGE", lines: expect.stringMatching(why) });
    expect(existsSync(join(work, "trust", "2.json"))).toBe(false);
  });
  test("the first one is not signed, and a stranger signs none", async () => {
    expect(await signAs("alice", work, { rootOfTrust: true })).toMatchObject({
      status: "USAGE",
      lines: expect.stringMatching(/the first root/),
    });
    await rotateIn({ threshold: 3 });
    expect(await signAs("dave", work, { rootOfTrust: true })).toMatchObject({
      status: "USAGE",
      lines: expect.stringMatching(/no key of alice, bob, carol/),
    });
  });
});

describe("the other things that are signed", () => {
  test("freshness, by a bot with a key of its own", async () => {
    const json = JSON.parse(readFileSync(join(work, "trust", "1.json"), "utf8")) as {
      principals: object;
      roles: object;
    };
    const bot = { keys: [people["bot"]?.publicLine] };
    const next = {
      ...json,
      root: 2,
      principals: { ...json.principals, bot },
      roles: { ...json.roles, freshness: { principals: ["bot"], threshold: 1 } },
    };
    expect(await signAs("bot", work, { fresh: 48 })).toMatchObject({
      status: "USAGE",
      lines: expect.stringMatching(/no role freshness/),
    });
    writeFileSync(join(work, "trust", "2.json"), `${JSON.stringify(next, null, 2)}\n`);
    for (const name of ["alice", "bob"]) await signAs(name, work, { rootOfTrust: true });
    expect(await signAs("alice", work, { fresh: 48 })).toMatchObject({ status: "USAGE" });
    expect(await signAs("bot", work, { fresh: 0 })).toMatchObject({ status: "USAGE" });
    expect(await signAs("bot", work, { fresh: 48 })).toMatchObject({
      status: 0,
      lines: expect.stringMatching(/vouched for as the newest until .*, by bot/),
    });
    expect(await verifyIn()).toMatchObject({
      status: 0,
      lines: expect.stringMatching(/Vouched for as the newest until/),
    });
    commit(work, "fresh");
    git(work, "push", "-q", "origin", "main");
    expect(await poll()).toMatchObject({ code: "approved" });
    expect((await gateway.pointers()).verified.freshUntil).toMatch(/^20/);
  });
  test("a request of a gateway that lost its state", async () => {
    const file = join(folder, "recover.json");
    writeFileSync(
      file,
      renderRecovery({ gateway: "gw-1", repository: "egress", root: 1, above: 41, parts: {}, nonce: "ab".repeat(32) }),
    );
    expect(await signAs("alice", work, { recovery: file })).toMatchObject({
      status: 0,
      lines: expect.stringMatching(/The gateway gw-1 lost[\s\S]*serials above 41[\s\S]*is that serial the last one\?/),
    });
    expect(
      execFileSync("ssh-keygen", ["-Y", "check-novalidate", "-n", "clawgress-recovery@v1", "-s", `${file}.alice.sig`], {
        input: readFileSync(file),
      }).toString(),
    ).toMatch(/Good/);
    expect(await signAs("dave", work, { recovery: file })).toMatchObject({ status: "USAGE" });
    writeFileSync(file, "{}");
    expect(await signAs("alice", work, { recovery: file })).toMatchObject({
      status: "USAGE",
      lines: expect.stringMatching(/no request to recover/),
    });
  });
  test("a team's own lock: others do not wait for it, nor it for them", async () => {
    const json = JSON.parse(readFileSync(join(work, "trust", "1.json"), "utf8")) as object;
    const rules = [
      {
        name: "payments",
        files: ["teams/payments/*.json"],
        hosts: ["pay-*"],
        lock: true,
        principals: ["carol"],
        threshold: 1,
      },
    ];
    writeFileSync(join(work, "trust", "2.json"), `${JSON.stringify({ ...json, root: 2, rules }, null, 2)}\n`);
    for (const name of ["alice", "bob"]) await signAs(name, work, { rootOfTrust: true });
    const team = (...domains: readonly string[]): void => {
      mkdirSync(join(work, "teams", "payments"), { recursive: true });
      const hosts = { "pay-1": { sources: ["10.0.1.1/32"], allow: { domains, ports: [443] } } };
      writeFileSync(
        join(work, "teams", "payments", "hosts.json"),
        `${JSON.stringify({ version: 1, hosts }, null, 2)}\n`,
      );
    };
    team("x.test");
    writeFileSync(
      join(work, "policy.json"),
      policy("a.test").replace('"version": 1,', '"version": 1,\n  "include": ["teams/payments/hosts.json"],'),
    );
    for (const name of ["alice", "bob", "carol"]) expect((await signAs(name)).status).toBe(0);
    // The hosts are new, so their addresses are nobody's yet: the leads agree once.
    for (const name of ["alice", "bob"]) expect((await signAs(name)).status).toBe(0);
    commit(work, "a team");
    git(work, "push", "-q", "origin", "main");
    expect(await poll()).toMatchObject({ code: "approved" });

    team("x.test", "y.test");
    const signed = await signAs("carol");
    expect(signed).toMatchObject({
      status: 0,
      lines: expect.stringMatching(/Serial 2 of payments[\s\S]*By rule payments: approved by carol: 1 of 1/),
    });
    expect(signed.lines).toContain("Enough people have approved; it can be merged.");
    expect(git(work, "status", "--porcelain").includes("clawgress.lock.json")).toBe(false);
    commit(work, "the team's change");
    git(work, "push", "-q", "origin", "main");
    expect(await poll()).toMatchObject({ code: "approved" });
    expect((await gateway.pointers()).verified).toMatchObject({ serial: 2, parts: { payments: { serial: 2 } } });
    expect(await verifyIn(work, { commit: "HEAD" })).toMatchObject({ status: 0 });
  });
});
