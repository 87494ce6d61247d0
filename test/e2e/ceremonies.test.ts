import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type RunResult, run } from "../../agent/host/run.ts";
import { makeFolder, makeSshKey } from "../support/ssh-keys.ts";

/** Runs examples/ceremonies.md from top to bottom, each block as the person whom it names. */

const { folder, remove } = makeFolder();
afterAll(remove);
const people = ["alice", "bob", "carol", "forge", "bot"];
const text = readFileSync(new URL("../../examples/ceremonies.md", import.meta.url), "utf8");
const blocks = [...text.matchAll(/^```sh (\w+)\n([\s\S]*?)^```$/gm)].map(([, who = "", script = ""]) => ({
  who,
  script,
}));
const bin = join(folder, "bin");
const shared = join(folder, "shared");

beforeAll(() => {
  for (const path of [bin, shared, join(folder, "keys")]) mkdirSync(path);
  writeFileSync(
    join(bin, "clawgress"),
    `#!/bin/sh\nexec '${process.execPath}' '${resolve("dist/clawgress.mjs")}' "$@"\n`,
  );
  chmodSync(join(bin, "clawgress"), 0o755);
  execFileSync("git", ["init", "-q", "--bare", "--initial-branch=main", join(folder, "server.git")]);
  for (const name of [...people, "dave", "bob-new"]) makeSshKey(join(folder, "keys"), name);
  for (const name of people) {
    const home = join(folder, name);
    mkdirSync(join(home, ".ssh"), { recursive: true });
    for (const end of ["", ".pub"])
      cpSync(join(folder, "keys", `${name}${end}`), join(home, ".ssh", `id_ed25519${end}`));
    const gitconfig = `[user]\nname = ${name}\nemail = ${name}@example.test\n[init]\ndefaultBranch = main\n[push]\ndefault = simple\n`;
    writeFileSync(join(home, ".gitconfig"), gitconfig);
    execFileSync("git", ["clone", "-q", join(folder, "server.git"), join(home, "egress")], { stdio: "ignore" });
    execFileSync("git", ["-C", join(home, "egress"), "symbolic-ref", "HEAD", "refs/heads/main"]);
    // Their public keys, which they sent each other, are not part of the repository.
    writeFileSync(join(home, "egress", ".git", "info", "exclude"), "*.pub\n");
    for (const other of [...people, "dave", "bob-new"]) {
      cpSync(join(folder, "keys", `${other}.pub`), join(home, "egress", `${other}.pub`));
    }
  }
  mkdirSync(join(folder, "gateway", "egress"), { recursive: true });
});

function perform(who: string, script: string): Promise<RunResult> {
  const home = join(folder, who);
  const env = { HOME: home, PATH: `${bin}:${process.env["PATH"]}`, GIT_CONFIG_SYSTEM: "/dev/null", SSH_AUTH_SOCK: "" };
  const own = script.replaceAll("/tmp/shared", shared);
  return run(["bash", "-euc", `cd '${join(home, "egress")}'\n${own}`], { timeoutMs: 60_000, env });
}

/** What the page leaves to the operator: the root of trust and agent.json on the gateway. */
function installGateway(): void {
  const own = join(folder, "gateway", "egress");
  cpSync(join(folder, "alice", "egress", "trust", "1.json"), join(own, "root.json"));
  const example = JSON.parse(readFileSync(new URL("../../examples/agent.json", import.meta.url), "utf8")) as {
    repository: object;
  };
  const settings = {
    ...example,
    repository: { ...example.repository, name: "acme-egress" },
    trust: { root: join(own, "root.json") },
    paths: { state: join(own, "state"), run: join(own, "run") },
  };
  writeFileSync(join(own, "agent.json"), JSON.stringify(settings));
}

test("the page has a block for each that it speaks of", () => {
  expect([...new Set(blocks.map(({ who }) => who))].sort()).toEqual([...people, "gateway"].sort());
  expect(blocks.length).toBeGreaterThan(20);
});

test("every command does what the page says", async () => {
  for (const [index, { who, script }] of blocks.entries()) {
    if (who === "gateway" && script.includes("init --gateway")) installGateway();
    const { exitCode, stdout, stderr } = await perform(who, script);
    expect(exitCode, `block ${index + 1} (${who}):\n${script}\n${stdout}\n${stderr}`).toBe(0);
  }
  const verified = await perform("forge", "git pull -q && clawgress verify --root trust/1.json --commit HEAD");
  expect(verified.exitCode, verified.stdout).toBe(0);
  expect(verified.stdout).toMatch(
    /by which root 4 is in force[\s\S]*Vouched for as the newest until[\s\S]*OK: serial 2 is approved by alice, carol/,
  );
  const pointers = readFileSync(join(folder, "gateway", "egress", "state", "pointers", "verified.a.json"), "utf8");
  expect(JSON.parse(pointers)).toMatchObject({ pointer: { serial: 1, lockDigest: null } });
}, 300_000);
