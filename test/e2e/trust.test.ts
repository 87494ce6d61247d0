import { execFileSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** What happens to what is enforced when trust in it runs out, and that it comes back: at the packets, with and without the forge. */

const policy = {
  version: 1,
  allow: { domains: ["health.allowed.test", "a.allowed.test", "b.allowed.test"], ports: [80, 443] },
  labels: { "a.allowed.test": "vital" },
};
const probes = [{ name: "health page", type: "tcp", host: "*", to: "health.allowed.test", port: 443 }];

let lab: Lab;
let gateway: TestGateway;
let revokedFile = "";

beforeAll(async () => {
  lab = await startLab();
  revokedFile = join(lab.folder, "revoked");
  await writeFile(revokedFile, "");
  const trust = { revokedFile, whenRevoked: "deny-all", whenExpired: "tighten", keepLabels: ["vital"], graceS: 0 };
  gateway = await setUpGateway(lab, { policy, config: { trust, health: { probes } } });
  const first = await gateway.sync();
  expect(first, first.message).toMatchObject({ ok: true, outcome: "confirmed" });
});

afterAll(async () => {
  await lab?.stop();
});

/** Changes agent.json, a section at a time. */
async function configure(section: "trust" | "repository", changes: object): Promise<void> {
  const config = JSON.parse(await readFile(gateway.configFile, "utf8")) as { [name: string]: object };
  await writeFile(gateway.configFile, JSON.stringify({ ...config, [section]: { ...config[section], ...changes } }));
}

/** What the client reaches, by name. */
async function reached(): Promise<readonly string[]> {
  const client = lab.client("agent1");
  const found: string[] = [];
  for (const name of ["a.allowed.test", "b.allowed.test", "health.allowed.test"]) {
    const { outcome } = await client.connect(name, 443);
    if (outcome === "connected") found.push(name.slice(0, 1));
  }
  return found;
}

async function status(): Promise<{ readonly exit: number; readonly text: string }> {
  const result = await gateway.clawgress(["status", "--config", gateway.configFile]);
  return { exit: result.exitCode, text: result.stdout };
}

test("WG1: a key revoked on the gateway closes at once what it approved, with the forge out of reach; taken back, all is open again", async () => {
  expect(await reached()).toEqual(["a", "b", "h"]);
  const stream = await lab.client("agent1").stream("a.allowed.test", 80);
  if (stream.outcome !== "connected") throw new Error("the stream does not open");
  const { url } = (JSON.parse(await readFile(gateway.configFile, "utf8")) as { repository: { url: string } })
    .repository;
  await configure("repository", { url: "https://127.0.0.1:1/gone" });
  const bob = execFileSync("ssh-keygen", ["-l", "-f", `${gateway.keys["bob"]}.pub`], { encoding: "utf8" }).split(
    " ",
  )[1];
  await writeFile(revokedFile, `${bob} stolen\n`);
  expect(await gateway.sync()).toMatchObject({ ok: false, code: "SOURCE_UNREACHABLE" });
  await lab.mark();
  expect(await reached()).toEqual([]);
  expect(await lab.queries({ name: "*.allowed.test" })).toHaveLength(0);
  await stream.stream.write();
  await sleepMs(200);
  expect((await stream.stream.state()).state).toBe("reset");
  const { exit, text } = await status();
  expect(exit).toBe(29);
  expect(text).toMatch(/ALARM {5}TRUST_REVOKED: what is enforced is approved by alice now; 1 of 2/);
  expect(text).toMatch(/NARROWED {2}deny-all/);

  await writeFile(revokedFile, "# it was found again\n");
  await gateway.sync();
  expect(await reached()).toEqual(["a", "b", "h"]);
  expect((await status()).exit).toBe(0);
  await configure("repository", { url });
});

test("WG1: a state that has expired keeps only what is vital; another commit with the same lock does not open it, a new serial does", async () => {
  await configure("trust", { maxAgeS: 1 });
  await sleepMs(1_100);
  await gateway.sync();
  await lab.mark();
  expect(await reached()).toEqual(["a"]);
  expect(await lab.queries({ name: "b.allowed.test" })).toHaveLength(0);
  const { exit, text } = await status();
  expect(exit).toBe(19);
  expect(text).toMatch(/trust {5}root 1; EXPIRED, not fresh since/);
  expect(text).toMatch(/NARROWED {2}tighten/);
  await gateway.commit(policy, { signers: [], message: "nothing new" });
  await gateway.sync();
  expect(await reached()).toEqual(["a"]);

  await configure("trust", { maxAgeS: 3600 });
  await gateway.commit({ ...policy, labels: { "a.allowed.test": "vital", "b.allowed.test": "other" } });
  expect(await gateway.sync()).toMatchObject({ ok: true, outcome: "confirmed" });
  expect(await reached()).toEqual(["a", "b", "h"]);
  expect((await status()).exit).toBe(0);
});

test("a new root comes with a commit and counts from then on", async () => {
  const sign = (...argv: readonly string[]) =>
    gateway.clawgress(["sign", "--repository-folder", gateway.clone, "--root-of-trust", ...argv]);
  const rotate = ["rotate", "--repository-folder", gateway.clone, "--remove", "bob", "--threshold", "1"];
  const dave = await gateway.commit(policy, {
    signers: ["alice"],
    message: "root 2",
    tamper: async () => {
      expect(
        await gateway.clawgress([...rotate, "--principal", `mallory=${gateway.keys["mallory"]}.pub`]),
      ).toMatchObject({ exitCode: 0 });
      for (const person of ["alice", "bob"])
        expect(await sign("--key", gateway.keys[person] ?? "")).toMatchObject({ exitCode: 0 });
    },
  });
  expect(await gateway.sync()).toMatchObject({ ok: true, commit: dave });
  expect((await status()).text).toMatch(/trust {5}root 2; FRESH until/);
  await gateway.commit({ ...policy, labels: {} }, { signers: ["mallory"] });
  expect(await gateway.sync()).toMatchObject({ ok: true, outcome: "confirmed" });
});
