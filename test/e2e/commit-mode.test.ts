import { execFileSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** Signed commits, and a history that only goes forward, on a gateway that enforces. */

let lab: Lab;
let gateway: TestGateway;
const policy = (...domains: readonly string[]) => ({ version: 1, allow: { domains } });
const git = (...argv: readonly string[]): Promise<string> =>
  lab.execChecked("internet", ["git", "-C", gateway.clone, ...argv]);
const push = (ref = "HEAD:main"): Promise<string> => git("push", "--quiet", "--force", "origin", ref);
const reaches = async (name: string): Promise<boolean> =>
  (await lab.client("agent1").connect(name, 443)).outcome === "connected";

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, {
    policy: policy("a.allowed.test"),
    threshold: 1,
    config: { trust: { mode: "both" } },
  });
  for (const [key, value] of [
    ["gpg.format", "ssh"],
    ["user.signingkey", gateway.keys["alice"] ?? ""],
    ["commit.gpgsign", "true"],
  ] as const)
    await git("config", key, value);
});
afterAll(async () => {
  await lab?.stop();
});

test("with mode both, a lock and a commit that are signed are enforced; a commit that is not, or by a stranger, is not", async () => {
  const signers = ["alice"];
  await gateway.commit(policy("a.allowed.test", "b.allowed.test"), { signers });
  expect(await gateway.sync()).toMatchObject({ ok: true, outcome: "confirmed" });
  expect(await reaches("b.allowed.test")).toBe(true);

  for (const [key, value] of [
    ["commit.gpgsign", "false"],
    ["user.signingkey", gateway.keys["mallory"] ?? ""],
  ] as const) {
    const before = (await git("config", key)).trim();
    await git("config", key, value);
    await gateway.commit(policy("a.allowed.test"), { signers });
    expect(await gateway.sync()).toMatchObject({ ok: false, code: "TRUST_COMMIT_UNSIGNED" });
    await git("config", key, before);
  }
  expect(await reaches("b.allowed.test")).toBe(true);
});

test("GA1 GA2 a head that goes back or aside is refused, what was enforced stays, and the next one ahead is taken", async () => {
  await gateway.commit(policy("a.allowed.test", "b.allowed.test"), { signers: ["alice"] });
  expect(await gateway.sync()).toMatchObject({ ok: true });
  const good = await gateway.head();
  // Approved as much as anything, but without what was verified behind it.
  await git("reset", "--quiet", "--hard", "HEAD~1");
  await git("commit", "--quiet", "--allow-empty", "-m", "aside");
  await git("checkout", "--quiet", good, "--", ".");
  await git("commit", "--quiet", "-m", "the same files");
  await push();
  const aside = await gateway.head();
  expect(await gateway.sync()).toMatchObject({ ok: false, code: "TRUST_APART" });
  expect((await gateway.awaitStatus(aside, ["failure"])).description).toContain("TRUST_APART");
  await git("reset", "--quiet", "--hard", good);
  await push("HEAD~1:main");
  expect(await gateway.sync()).toMatchObject({ ok: false });
  expect(await reaches("b.allowed.test")).toBe(true);
  await push();
  await gateway.commit(policy("a.allowed.test", "b.allowed.test", "rotate.allowed.test"), { signers: ["alice"] });
  expect(await gateway.sync()).toMatchObject({ ok: true, outcome: "confirmed" });
  expect(await reaches("rotate.allowed.test")).toBe(true);
});

test("with mode commit the signed commit alone is the approval, also of included files", async () => {
  const config = JSON.parse(await readFile(gateway.configFile, "utf8")) as { trust: object };
  await writeFile(gateway.configFile, JSON.stringify({ ...config, trust: { ...config.trust, mode: "commit" } }));
  const more = { version: 1, allow: { domains: ["b.allowed.test"] } };
  const commit = await gateway.commit(
    { ...policy("a.allowed.test"), include: ["more.json"] },
    { signers: [], tamper: (clone) => writeFile(`${clone}/more.json`, JSON.stringify(more)) },
  );
  const synced = await gateway.sync();
  expect(synced).toMatchObject({ ok: true, outcome: "confirmed" });
  expect((await gateway.awaitStatus(commit, ["success"])).description).toContain("by alice");
  expect(await reaches("b.allowed.test")).toBe(true);
  expect(await reaches("rotate.allowed.test")).toBe(false);
});

test("with mode commit a signature whose key is revoked ends what it brought, without any commit or Git server", async () => {
  const write = async (section: string, values: object): Promise<void> => {
    const config = JSON.parse(await readFile(gateway.configFile, "utf8")) as { [section: string]: object };
    await writeFile(gateway.configFile, JSON.stringify({ ...config, [section]: { ...config[section], ...values } }));
  };
  const { repository } = JSON.parse(await readFile(gateway.configFile, "utf8")) as { repository: { url: string } };
  const revokedFile = join(lab.folder, "revoked");
  await writeFile(revokedFile, "# nobody\n");
  await write("trust", { revokedFile, whenRevoked: "deny-all" });
  expect(await gateway.sync()).toMatchObject({ ok: true });
  expect(await reaches("b.allowed.test")).toBe(true);

  await write("repository", { url: "https://127.0.0.1:1/gone" });
  const fingerprint = execFileSync("ssh-keygen", ["-l", "-f", `${gateway.keys["alice"]}.pub`], { encoding: "utf8" });
  await writeFile(revokedFile, `${fingerprint.split(" ")[1]} stolen\n`);
  expect(await gateway.sync()).toMatchObject({ ok: false, code: "SOURCE_UNREACHABLE" });
  await lab.mark();
  expect(await reaches("b.allowed.test")).toBe(false);
  expect(await lab.queries({ name: "*.allowed.test" })).toHaveLength(0);
  const status = await gateway.clawgress(["status", "--config", gateway.configFile]);
  expect(status.exitCode).toBe(29);
  expect(status.stdout).toMatch(/ALARM {5}TRUST_REVOKED: .* is signed by nobody who counts now/);

  await writeFile(revokedFile, "# it was found again\n");
  await gateway.sync();
  expect(await reaches("b.allowed.test")).toBe(true);
  await write("repository", { url: repository.url });
});

test("after a rollback it is the older commit's signature that is judged", async () => {
  const revokedFile = join(lab.folder, "revoked");
  const revoke = async (person: string): Promise<void> => {
    const text = execFileSync("ssh-keygen", ["-l", "-f", `${gateway.keys[person]}.pub`], { encoding: "utf8" });
    await writeFile(revokedFile, `${text.split(" ")[1]} stolen\n`);
    await gateway.sync();
  };
  const own = (await git("config", "user.signingkey")).trim();
  await git("config", "user.signingkey", gateway.keys["bob"] ?? "");
  await gateway.commit(policy("rotate.allowed.test"), { signers: [] });
  await git("config", "user.signingkey", own);
  expect(await gateway.sync()).toMatchObject({ ok: true, outcome: "confirmed" });
  const rollback = ["rollback", "--reason", "alice's was right", "--config", gateway.configFile];
  const { exitCode, stderr } = await gateway.clawgress(rollback);
  expect(exitCode, stderr).toBe(0);
  expect(await reaches("b.allowed.test")).toBe(true);

  await revoke("bob");
  expect(await reaches("b.allowed.test")).toBe(true);
  await revoke("alice");
  expect(await reaches("b.allowed.test")).toBe(false);
  await writeFile(revokedFile, "# both were found again\n");
  await gateway.sync();
  expect(await reaches("b.allowed.test")).toBe(true);
});

test("with mode commit a root of trust that asks for two approvals is refused at the start", async () => {
  const config = JSON.parse(await readFile(gateway.configFile, "utf8")) as { trust: { root: string } };
  const root = JSON.parse(await readFile(config.trust.root, "utf8")) as { roles: { policy: { threshold: number } } };
  root.roles.policy.threshold = 2;
  await writeFile(config.trust.root, JSON.stringify(root));
  const result = await gateway.clawgress(["sync", "--config", gateway.configFile]);
  expect(result.exitCode).toBe(3);
  expect(result.stderr + result.stdout).toContain("a commit has one signature");
});
