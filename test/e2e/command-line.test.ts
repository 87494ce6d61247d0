import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunResult, run, runChecked } from "../../agent/host/run.ts";

/** The program as people run it: what README shows, without a gateway. */

const root = join(import.meta.dirname, "..", "..");
const program = join(root, "dist", "clawgress.mjs");
const limits = { timeoutMs: 30_000 };
const verbs = ["run", "sync", "gate", "status", "compile", "check", "sign", "verify", "explain", "init"];
let folder = "";
let clone = "";

const clawgress = (...argv: string[]): Promise<RunResult> => run([process.execPath, program, ...argv], limits);
const git = (...argv: string[]): Promise<string> => runChecked(["git", "-C", clone, ...argv], limits);
const json = (result: RunResult): { readonly [key: string]: unknown } => JSON.parse(result.stdout);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "clawgress-cli-"));
  await runChecked(["chmod", "755", folder], limits);
  clone = join(folder, "clone");
  for (const person of ["alice", "bob"]) {
    await runChecked(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", person, "-f", join(folder, person)], limits);
  }
  await runChecked(["git", "init", "--quiet", "--initial-branch=main", clone], limits);
  await git("config", "user.name", "Test");
  await git("config", "user.email", "test@example.test");
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("help", () => {
  test.each(verbs)("%s has an example and says where its exit status is documented", async (verb) => {
    const result = await clawgress(verb, "--help");
    expect(result.exitCode).toBe(0);
    expect(result.stdout).toContain(`clawgress ${verb}`);
    expect(result.stdout).toContain("Example:");
    expect(result.stdout).toContain("Exit status:");
  });

  test("a wrong verb or option is refused with the usage status and no stack", async () => {
    for (const argv of [["open"], ["status", "--colour"], ["compile"]]) {
      const result = await clawgress(...argv);
      expect(result.exitCode, argv.join(" ")).toBe(2);
      expect(result.stderr).not.toMatch(/\n\s+at /);
    }
  });

  test("a missing configuration is one sentence with a remedy", async () => {
    const result = await clawgress("status", "--config", join(folder, "nothing.json"));
    expect(result.exitCode).toBe(3);
    expect(result.stderr).toMatch(/^SETTINGS_INVALID: .*nothing\.json/);
    expect(result.stderr).toContain("→");
  });
});

test("GC22: compile needs no root, and gives the same bytes in every language and time zone", async () => {
  const place = join(folder, "program");
  await cp(join(root, "dist"), place, { recursive: true });
  const policy = join(folder, "policy.json");
  await writeFile(policy, await readFile(join(root, "examples", "team", "policy.json")));
  const outputs: string[] = [];
  const surroundings = {
    one: { LC_ALL: "C", TZ: "UTC" },
    two: { LC_ALL: "tr_TR.UTF-8", LANG: "tr_TR.UTF-8", TZ: "Asia/Kathmandu" },
  };
  for (const [name, env] of Object.entries(surroundings)) {
    const out = join(folder, name);
    await mkdir(out, { mode: 0o777 });
    await runChecked(["chmod", "777", out], limits);
    const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] as const;
    await runChecked([...nobody, process.execPath, join(place, "clawgress.mjs"), "compile", policy, "--out", out], {
      ...limits,
      env,
    });
    const files = (await readdir(out)).sort();
    expect(files).toEqual([
      "allow.zone",
      "block.zone",
      "deny.zone",
      "gate.json",
      "manifest.json",
      "named.conf",
      "policy.nft",
    ]);
    outputs.push((await Promise.all(files.map((file) => readFile(join(out, file), "utf8")))).join("\n"));
  }
  expect(outputs[0]).toBe(outputs[1]);
});

test("a policy with mistakes is refused with file, line, column and what to write", async () => {
  const path = join(folder, "wrong.json");
  await writeFile(
    path,
    '{\n  "version": 1,\n  "allow": {\n    "domain": ["api.example.com"],\n    "ports": [70000]\n  }\n}\n',
  );
  const result = await clawgress("compile", path, "--out", join(folder, "nowhere"));
  expect(result.exitCode).toBe(30);
  expect(result.stderr).toMatch(/wrong\.json:4:5: .*"domain".*"domains"/);
  expect(result.stderr).toMatch(/wrong\.json:5:\d+: /);
});

test("a team's change: init, sign, verify, check, explain", async () => {
  const principals = ["alice", "bob"].flatMap((name) => ["--principal", `${name}=${join(folder, name)}.pub`]);
  const made = await clawgress(
    "init",
    "--repository-folder",
    clone,
    "--name",
    "acme",
    ...principals,
    "--threshold",
    "2",
  );
  expect(made.exitCode, made.stderr).toBe(0);
  await writeFile(join(clone, "policy.json"), '{ "version": 1, "allow": { "domains": ["api.example.com"] } }\n');

  const stale = await clawgress("check", clone, "--json");
  expect(stale.exitCode).toBe(22);
  expect(json(stale)).toMatchObject({ ok: false });

  const signed = await clawgress("sign", "--repository-folder", clone, "--key", join(folder, "alice"));
  expect(signed.exitCode, signed.stderr).toBe(0);
  expect(signed.stdout).toContain("api.example.com");
  expect(signed.stdout).toMatch(/bob/);
  await git("add", "-A");
  await git("commit", "--quiet", "-m", "the first policy");

  const half = await clawgress("verify", "--repository-folder", clone, "--commit", "HEAD", "--json");
  expect(half.exitCode).toBe(20);
  expect(json(half)).toMatchObject({ approvedBy: ["alice"], missing: 1, mayApprove: ["bob"] });
  expect((await clawgress("check", clone)).exitCode).toBe(0);
  expect((await clawgress("check", clone, "--approved")).exitCode).toBe(20);

  expect((await clawgress("sign", "--repository-folder", clone, "--key", join(folder, "bob"))).exitCode).toBe(0);
  await git("add", "-A");
  await git("commit", "--quiet", "--amend", "-m", "the first policy");
  const whole = await clawgress("verify", "--repository-folder", clone, "--commit", "HEAD", "--json");
  expect(whole.exitCode).toBe(0);
  expect(json(whole)).toMatchObject({ ok: true, approvedBy: ["alice", "bob"] });
  expect((await clawgress("check", clone, "--approved")).exitCode).toBe(0);
});

test.each([
  ["10.0.0.5", "api.example.com:443", "ALLOW"],
  ["10.0.0.5", "www.api.example.com:443", "DENY"],
  ["10.0.0.5", "api.example.com:22", "DENY"],
])("explain %s %s says %s, and why", async (from, to, verdict) => {
  const result = await clawgress("explain", from, to, "--policy", join(clone, "policy.json"));
  expect(result.exitCode).toBe(0);
  expect(result.stdout).toMatch(new RegExp(`^${verdict}`));
  expect(result.stdout).toContain(verdict === "ALLOW" ? "policy.json:1" : "nearest:");
});
