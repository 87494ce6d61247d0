import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { init } from "../../../agent/commands/init.ts";
import { createOutput } from "../../../agent/commands/output.ts";
import { type SignOptions, sign } from "../../../agent/commands/sign.ts";
import { verify } from "../../../agent/commands/verify.ts";
import { AgentError } from "../../../agent/errors.ts";
import { digestOf } from "../../../agent/trust/lock.ts";
import { makeFolder, makeSshKey } from "../../support/ssh-keys.ts";
import { git } from "../../support/trust.ts";

const { folder, remove } = makeFolder();
const keys = join(folder, "keys");
mkdirSync(keys);
const alice = makeSshKey(keys, "alice");
const alice2 = makeSshKey(keys, "alice2", "ecdsa", 256);
const bob = makeSshKey(keys, "bob", "rsa", 3072);
const carol = makeSshKey(keys, "carol");
const mallory = makeSshKey(keys, "mallory");

// No test may find the keys of whoever runs it.
const environment = { HOME: process.env["HOME"], SSH_AUTH_SOCK: process.env["SSH_AUTH_SOCK"] };
const home = join(folder, "home");
mkdirSync(join(home, ".ssh"), { recursive: true });
process.env["HOME"] = home;
delete process.env["SSH_AUTH_SOCK"];
let agent: ChildProcess | null = null;
afterAll(() => {
  agent?.kill();
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  remove();
});

interface Ran {
  readonly status: number | string;
  readonly lines: string;
  readonly document: { readonly [key: string]: unknown };
}

/** Runs a verb with words and again-readable JSON; the status is the code of the AgentError when it throws one. */
async function ran(work: (output: ReturnType<typeof createOutput>) => Promise<number>): Promise<Ran> {
  let lines = "";
  let json = "";
  const words = createOutput(
    { json: false, color: false },
    {
      write: (text: string) => {
        lines += text;
      },
    },
    { write: () => {} },
  );
  const output = {
    ...words,
    document: (value: unknown) => {
      json = JSON.stringify(value);
    },
  };
  try {
    const status = await work(output);
    return { status, lines, document: JSON.parse(json) as Ran["document"] };
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    return { status: error.code, lines: `${error.message}\n→ ${error.remedy}`, document: {} };
  }
}

const work = join(folder, "work");
const server = join(folder, "server.git");
const runSign = (options: Partial<SignOptions> & { readonly key?: string }) =>
  ran((output) => sign({ repositoryFolder: work, ...options }, output));
const runVerify = (options: { root?: string; commit?: string; repositoryFolder?: string } = {}) =>
  ran((output) => verify({ repositoryFolder: work, ...options }, output));
const at = (path: string): string => join(work, path);
const lockText = (): string => readFileSync(at("clawgress.lock.json"), "utf8");
const writePolicy = (...domains: readonly string[]): void =>
  writeFileSync(at("policy.json"), `${JSON.stringify({ version: 1, allow: { domains, ports: [443] } }, null, 2)}\n`);
const commit = (message: string): void => {
  git(work, "add", "-A");
  git(work, "commit", "-q", "-m", message);
};

/** A repository of two of three, with serial 1 approved by alice and bob and pushed to its server; made once, copied for each test. */
const template = join(folder, "template");
beforeAll(async () => {
  mkdirSync(work);
  git(work, "init", "-q");
  const names = { alice, alice2, bob, carol };
  const principal = Object.entries(names).map(([name, key]) => `${name.replace("2", "")}=${key.path}.pub`);
  const options = { name: "egress", principal, threshold: 2, group: "default", branch: "main" };
  const made = await ran((output) => init({ config: "", repositoryFolder: work, ...options }, output));
  expect(made.status).toBe(0);
  const first = { serial: 1, lockKept: true, approvedBy: ["alice"], missing: 1 };
  expect((await runSign({ key: alice.path })).document).toMatchObject(first);
  expect((await runSign({ key: bob.path })).document).toMatchObject({ approvedBy: ["alice", "bob"], missing: 0 });
  commit("serial 1");
  git(folder, "init", "-q", "--bare", server);
  git(work, "remote", "add", "origin", server);
  git(work, "push", "-q", "origin", "main");
  mkdirSync(template);
  execFileSync("cp", ["-a", work, server, template]);
});
beforeEach(() => {
  rmSync(work, { recursive: true, force: true });
  rmSync(server, { recursive: true, force: true });
  execFileSync("cp", ["-a", join(template, "work"), join(template, "server.git"), folder]);
});

describe("init", () => {
  const base = {
    config: "",
    repositoryFolder: join(folder, "fresh"),
    name: "egress",
    group: "default",
    branch: "main",
  };
  const principal = [`alice=${alice.path}.pub`];
  test.each([
    ["a threshold nobody can reach", { principal, threshold: 2 }, /from 1 to 1/],
    ["a threshold of 0", { principal, threshold: 0 }, /from 1 to 1/],
    ["one key for two people", { principal: [...principal, `bob=${alice.path}.pub`] }, /stands here and at/],
    ["a name that is a path", { principal: [`../alice=${alice.path}.pub`] }, /lower-case/],
    ["a private key in place of the public one", { principal: [`alice=${alice.path}`] }, /not a line|refused/],
    ["no principals", {}, /say what to start/],
    ["a principal without a file", { principal: ["alice"] }, /name=file.pub/],
    ["a branch that is an option", { principal, branch: "--upload-pack=x" }, /branch name/],
  ])("refuses %s", async (_what, changes, message) => {
    const result = await ran((output) => init({ ...base, ...changes }, output));
    expect(result).toMatchObject({ status: "USAGE", lines: expect.stringMatching(message) });
    expect(existsSync(base.repositoryFolder)).toBe(false);
  });
  test("refuses a folder that has a policy, and changes nothing", async () => {
    const before = lockText();
    const result = await ran((output) => init({ ...base, repositoryFolder: work, principal }, output));
    expect(result).toMatchObject({ status: "USAGE", lines: expect.stringMatching(/exists already/) });
    expect(lockText()).toBe(before);
  });
});

describe("sign", () => {
  test("raises the serial, says what opens and closes, and removes the approvals of the lock before the last", async () => {
    const stale = readdirSync(at("approvals"));
    writePolicy("api.example.com", "old.example.com");
    await runSign({ key: alice.path });
    await runSign({ key: bob.path });
    commit("serial 2");
    git(work, "push", "-q", "origin", "main");
    const last = digestOf(Buffer.from(lockText())).slice(0, 16);

    writePolicy("api.example.com", "new.example.com");
    const result = await runSign({ key: alice.path });
    expect(result).toMatchObject({
      status: 0,
      document: {
        serial: 3,
        lockKept: false,
        principal: "alice",
        approvedBy: ["alice"],
        missing: 1,
        mayApprove: ["bob", "carol"],
        removed: stale,
        lockDigest: digestOf(Buffer.from(lockText())),
      },
    });
    expect(result.lines).toContain("- everyone without own rules: old.example.com on 443/tcp");
    expect(result.lines).toContain("+ everyone without own rules: new.example.com on 443/tcp");
    expect(result.lines).toContain("git pull && clawgress sign");
    expect(readdirSync(at("approvals"))).toEqual([last, digestOf(Buffer.from(lockText())).slice(0, 16)].sort());
  });

  test("GC18: asks whether most of what is allowed is meant to go, of each who signs", async () => {
    const names = Array.from({ length: 12 }, (_, index) => `n${index}.example.com`);
    writePolicy(...names);
    await runSign({ key: alice.path });
    await runSign({ key: bob.path });
    commit("serial 2");
    git(work, "push", "-q", "origin", "main");
    const before = lockText();

    writePolicy(...names.slice(0, 5));
    const refused = { status: "USAGE", lines: expect.stringMatching(/^7 of 12 allowed .*\n→ .*--accept-removal/) };
    expect(await runSign({ key: alice.path })).toMatchObject(refused);
    expect(lockText()).toBe(before);
    expect(await runSign({ key: alice.path, acceptRemoval: true })).toMatchObject({ document: { missing: 1 } });
    expect(await runSign({ key: bob.path })).toMatchObject(refused);
    expect(await runSign({ key: bob.path, acceptRemoval: true })).toMatchObject({ document: { missing: 0 } });
  });
  test("signs what takes away half, or most of only a few", async () => {
    const names = Array.from({ length: 12 }, (_, index) => `n${index}.example.com`);
    for (const left of [12, 6, 1]) {
      writePolicy(...names.slice(0, left));
      expect(await runSign({ key: alice.path })).toMatchObject({ status: 0 });
      await runSign({ key: bob.path });
      commit(`${left} names`);
      git(work, "push", "-q", "origin", "main");
    }
  });

  test("lets the second person approve the same bytes, on a branch and after a squash", async () => {
    git(work, "switch", "-q", "-c", "change");
    writePolicy("api.example.com");
    await runSign({ key: alice.path });
    const bytes = lockText();
    commit("alice approves");
    expect((await runSign({ key: bob.path })).document).toMatchObject({
      serial: 2,
      lockKept: true,
      approvedBy: ["alice", "bob"],
      missing: 0,
    });
    expect(lockText()).toBe(bytes);
    commit("bob approves");
    git(work, "switch", "-q", "main");
    git(work, "merge", "-q", "--squash", "change");
    commit("squashed by somebody else");
    expect(await runVerify({ commit: "HEAD" })).toMatchObject({
      status: 0,
      document: { ok: true, approvedBy: ["alice", "bob"] },
    });
  });

  test("takes the serial from the fetched branch, not from a local one that lags", async () => {
    const other = join(folder, "other");
    rmSync(other, { recursive: true, force: true });
    git(folder, "clone", "-q", server, other);
    writePolicy("one.example.com");
    await runSign({ key: alice.path });
    commit("serial 2");
    git(work, "push", "-q", "origin", "main");
    git(other, "fetch", "-q");
    writeFileSync(join(other, "policy.json"), readFileSync(at("policy.json"), "utf8").replace("one", "two"));
    const result = await ran((output) => sign({ repositoryFolder: other, key: carol.path }, output));
    expect(result).toMatchObject({ status: 0, document: { serial: 3, approvedBy: ["carol"] } });
  });

  test("counts a person with two keys once", async () => {
    writePolicy("api.example.com");
    await runSign({ key: alice.path });
    expect((await runSign({ key: alice2.path })).document).toMatchObject({
      principal: "alice",
      approvedBy: ["alice"],
      missing: 1,
    });
  });

  test("puts right what is no plain file in the branch, or in a state that the same person approved before", async () => {
    writePolicy("other.example.com");
    await runSign({ key: alice.path });
    rmSync(at("policy.json"));
    symlinkSync("clawgress.lock.json", at("policy.json"));
    commit("a link in the place of the policy");
    rmSync(at("policy.json"));
    writePolicy("api.example.com");
    expect(await runSign({ key: alice.path })).toMatchObject({ status: 0 });
    git(at("."), "reset", "-q", "--hard", "HEAD~1");
    writePolicy("api.example.com");
    expect(await runSign({ key: alice.path })).toMatchObject({ status: 0 });
  });

  test("changes nothing when the same person signs again", async () => {
    writePolicy("api.example.com");
    const first = await runSign({ key: alice2.path });
    const file = at(String(first.document["file"]));
    const signature = readFileSync(file);
    expect((await runSign({ key: alice2.path })).lines).toContain("alice has approved serial 2 already.");
    expect(readFileSync(file)).toEqual(signature);
  });

  test("lists files that are named, and drops those that are gone", async () => {
    writeFileSync(at("notes.txt"), "hello\n");
    expect((await runSign({ key: alice.path, file: ["notes.txt"] })).document).toMatchObject({
      changes: { files: [{ sign: "+", path: "notes.txt" }] },
    });
    expect(Object.keys((JSON.parse(lockText()) as { files: object }).files)).toEqual(["notes.txt", "policy.json"]);
    rmSync(at("notes.txt"));
    await runSign({ key: alice.path });
    expect(Object.keys((JSON.parse(lockText()) as { files: object }).files)).toEqual(["policy.json"]);
  });

  test("writes a half merged lock anew", async () => {
    writePolicy("api.example.com");
    writeFileSync(at("clawgress.lock.json"), `<<<<<<< HEAD\n${lockText()}=======\n>>>>>>> change\n`);
    expect((await runSign({ key: alice.path })).document).toMatchObject({ serial: 2 });
    expect(JSON.parse(lockText())).toMatchObject({ serial: 2 });
  });

  const refusals: readonly (readonly [string, () => void, Partial<SignOptions>, string, RegExp])[] = [
    ["a key that is in no root", () => {}, { key: mallory.path }, "USAGE", /no key of alice, bob, carol/],
    [
      "a key of somebody else than --principal",
      () => {},
      { key: alice.path, principal: "bob" },
      "USAGE",
      /no key of bob/,
    ],
    [
      "a principal that is not in the root",
      () => {},
      { key: alice.path, principal: "dave" },
      "USAGE",
      /may not approve/,
    ],
    ["no key at all", () => {}, {}, "USAGE", /no keys at all/],
    ["a key file that is none", () => {}, { key: "/etc/hostname" }, "USAGE", /not a key that ssh-keygen can use/],
    [
      "a serial that is not above the branch's",
      () => writePolicy("a.example.com"),
      { key: alice.path, serial: 1 },
      "USAGE",
      /not above 1/,
    ],
    [
      "a serial that is no number",
      () => writePolicy("a.example.com"),
      { key: alice.path, serial: Number.NaN },
      "USAGE",
      /no serial/,
    ],
    [
      "a policy with errors",
      () => writeFileSync(at("policy.json"), '{"version":1,\n"allow":{"domain":[]}}'),
      { key: alice.path },
      "POLICY_INVALID",
      /policy\.json:2:/,
    ],
    [
      "a file that does not exist",
      () => {},
      { key: alice.path, file: ["x.json"] },
      "USAGE",
      /there is no file "x.json"/,
    ],
    ["a file outside the clone", () => {}, { key: alice.path, file: ["../x"] }, "USAGE", /cannot be listed/],
    ["an executable policy", () => chmodSync(at("policy.json"), 0o755), { key: alice.path }, "SOURCE_FILE", /chmod -x/],
    [
      "a policy that is a symbolic link",
      () => {
        renameSync(at("policy.json"), at("real.json"));
        symlinkSync("real.json", at("policy.json"));
      },
      { key: alice.path },
      "SOURCE_FILE",
      /symbolic link/,
    ],
    [
      "an approvals folder that leads elsewhere",
      () => {
        rmSync(at("approvals"), { recursive: true });
        symlinkSync(folder, at("approvals"));
      },
      { key: alice.path },
      "SOURCE_FILE",
      /symbolic link/,
    ],
    [
      "line ends that git would change",
      () => {
        writeFileSync(at(".gitattributes"), "*.json text\n");
        writeFileSync(at("policy.json"), readFileSync(at("policy.json"), "utf8").replaceAll("\n", "\r\n"));
      },
      { key: alice.path },
      "TRUST_LOCK_MISMATCH",
      /other bytes of "policy.json"/,
    ],
    [
      "a repository without a root",
      () => rmSync(at("trust"), { recursive: true }),
      { key: alice.path },
      "TRUST_ROOT_INVALID",
      /no trust\/1\.json/,
    ],
    [
      "a root under the wrong number",
      () => renameSync(at("trust/1.json"), at("trust/2.json")),
      { key: alice.path },
      "TRUST_ROOT_INVALID",
      /says that it is root 1/,
    ],
  ];
  test.each(refusals)("refuses %s, and writes nothing", async (_what, prepare, options, status, message) => {
    prepare();
    const before = git(work, "status", "--porcelain", "-uall");
    expect(await runSign(options)).toMatchObject({ status, lines: expect.stringMatching(message) });
    expect(git(work, "status", "--porcelain", "-uall")).toBe(before);
  });

  test("refuses a folder that is no clone", async () => {
    const bare = join(folder, "no-clone");
    mkdirSync(bare, { recursive: true });
    execFileSync("cp", ["-r", at("trust"), at("policy.json"), bare]);
    const result = await ran((output) => sign({ repositoryFolder: bare, key: alice.path }, output));
    expect(result).toMatchObject({ status: "USAGE", lines: expect.stringMatching(/run this in a clone/) });
  });

  test("finds the caller's key in ~/.ssh and in ssh-agent, and signs with a key that only the agent has", async () => {
    writePolicy("api.example.com");
    execFileSync("cp", [mallory.path, `${mallory.path}.pub`, carol.path, `${carol.path}.pub`, join(home, ".ssh")]);
    expect((await runSign({})).document).toMatchObject({ principal: "carol" });
    rmSync(join(home, ".ssh"), { recursive: true });

    const socket = join(folder, "agent.sock");
    agent = spawn("ssh-agent", ["-D", "-a", socket], { stdio: "ignore" });
    while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 10));
    process.env["SSH_AUTH_SOCK"] = socket;
    execFileSync("ssh-add", ["-q", mallory.path, bob.path], { stdio: "ignore" });
    expect((await runSign({})).document).toMatchObject({ principal: "bob", approvedBy: ["bob", "carol"], missing: 0 });
    writePolicy("other.example.com");
    expect((await runSign({ key: "agent" })).document).toMatchObject({ principal: "bob", approvedBy: ["bob"] });
    execFileSync("ssh-add", ["-q", "-D"], { stdio: "ignore" });
    expect(await runSign({ key: "agent" })).toMatchObject({ status: "USAGE" });
    delete process.env["SSH_AUTH_SOCK"];
  });

  test("says so when ssh-keygen cannot sign, and writes nothing", async () => {
    writePolicy("api.example.com");
    const before = lockText();
    const lonely = join(folder, "lonely.pub");
    writeFileSync(lonely, `${alice.publicLine}\n`);
    expect(await runSign({ key: lonely })).toMatchObject({
      status: "TRUST_SIGNING_FAILED",
      lines: expect.stringMatching(/ssh-add/),
    });
    expect(lockText()).toBe(before);
  });
});

describe("verify", () => {
  test("says who approved, in the working tree and in a commit", async () => {
    expect(await runVerify()).toMatchObject({
      status: 0,
      document: { ok: true, approvedBy: ["alice", "bob"], threshold: 2, missing: 0 },
    });
    expect(await runVerify({ commit: "main" })).toMatchObject({
      status: 0,
      lines: expect.stringMatching(/OK: serial 1 is approved by alice, bob/),
    });
    expect(await runVerify({ root: at("trust/1.json") })).toMatchObject({ status: 0 });
  });

  test("says that one is missing, with the exit status of the table", async () => {
    writePolicy("api.example.com");
    await runSign({ key: alice.path });
    const result = await runVerify();
    expect(result).toMatchObject({
      status: 20,
      document: { ok: false, code: "TRUST_UNSIGNED", approvedBy: ["alice"], missing: 1, mayApprove: ["bob", "carol"] },
    });
    expect(result.lines).toContain("Approved by alice: 1 of 2; 1 more of bob, carol must approve");
  });

  test("names a signature that does not count, and a file that nobody asks for", async () => {
    const approvals = at(`approvals/${readdirSync(at("approvals"))[0]}`);
    execFileSync("cp", [join(approvals, "alice.sig"), join(approvals, "bob.sig")]);
    execFileSync("cp", [join(approvals, "alice.sig"), join(approvals, "mallory.sig")]);
    const result = await runVerify();
    expect(result).toMatchObject({
      status: 20,
      document: { ignored: ["mallory.sig"], rejected: [{ file: expect.stringMatching(/bob\.sig$/) }] },
    });
    expect(result.lines).toMatch(/bob\.sig does not count: it was made with another key: SHA256:\S+ a key of alice/);
  });

  test("sees a policy that changed after it was approved", async () => {
    writePolicy("evil.example.com");
    expect(await runVerify()).toMatchObject({ status: 22, lines: expect.stringMatching(/changed policy\.json/) });
    commit("sneak it in");
    expect(await runVerify({ commit: "HEAD" })).toMatchObject({ status: 22 });
  });

  test("judges by the root of the gateway, not by the one in the commit", async () => {
    const gatewayRoot = join(folder, "gateway-root.json");
    execFileSync("cp", [at("trust/1.json"), gatewayRoot]);
    const root = readFileSync(at("trust/1.json"), "utf8");
    const malloryKey = mallory.publicLine.split(" ").slice(0, 2).join(" ");
    writeFileSync(at("trust/1.json"), root.replaceAll(/ssh-rsa [A-Za-z0-9+/=]+/g, malloryKey));
    writePolicy("evil.example.com");
    await runSign({ key: alice.path });
    await runSign({ key: mallory.path });
    expect(await runVerify()).toMatchObject({ status: 0 });
    expect(await runVerify({ root: gatewayRoot })).toMatchObject({
      status: 25,
      lines: expect.stringMatching(/trust\/1\.json is not the root 1 that is followed/),
      document: { approvedBy: ["alice"] },
    });
  });

  test("refuses a newer root in the repository that nobody approved", async () => {
    const gatewayRoot = join(folder, "gateway-root.json");
    execFileSync("cp", [at("trust/1.json"), gatewayRoot]);
    writeFileSync(at("trust/2.json"), readFileSync(at("trust/1.json"), "utf8").replace('"root": 1', '"root": 2'));
    expect(await runVerify({ root: gatewayRoot })).toMatchObject({
      status: 27,
      document: {
        code: "TRUST_ROOT_CHAIN",
        message: expect.stringMatching(/approved by nobody as the root before it/),
      },
    });
  });

  test("reads what git has, whatever replaces or converts it", async () => {
    const good = git(work, "rev-parse", "HEAD:policy.json");
    writePolicy("evil.example.com");
    const evil = git(work, "hash-object", "-w", "policy.json");
    git(work, "checkout", "-q", "policy.json");
    git(work, "replace", good, evil);
    expect(git(work, "show", "HEAD:policy.json")).toContain("evil");
    expect(await runVerify({ commit: "HEAD" })).toMatchObject({ status: 0 });
    git(work, "replace", "-d", good);
  });

  test.each(["no-such-branch", "--output=x", "HEAD:policy.json"])("refuses the revision %s", async (commitName) => {
    expect(await runVerify({ commit: commitName })).toMatchObject({ status: "USAGE" });
  });

  test("a lock that is missing or malformed has the status for it", async () => {
    writeFileSync(at("clawgress.lock.json"), `${lockText()}\n`);
    expect(await runVerify()).toMatchObject({ status: 21 });
    rmSync(at("clawgress.lock.json"));
    expect(await runVerify()).toMatchObject({ status: 21, document: { lock: null, missing: 2 } });
  });
});
