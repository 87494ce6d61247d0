import { existsSync } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** When what should be in force cannot be, everything but the lifeline is closed, everybody is told, and it heals by itself. */

const probes = [{ name: "health page", type: "tcp", host: "*", to: "health.allowed.test", port: 443 }];
const policy = (...domains: string[]) => ({ version: 1, allow: { domains } });

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;
let first: string;

beforeAll(async () => {
  lab = await startLab();
  const start = policy("health.allowed.test", "a.allowed.test");
  gateway = await setUpGateway(lab, { policy: start, config: { health: { probes } } });
  first = await gateway.head();
  agent = gateway.start();
  await gateway.awaitStatus(first, ["success"]);
});

afterAll(async () => {
  await lab?.stop();
});

interface StatusDocument {
  readonly ok: boolean;
  readonly state: string;
  readonly lifeline: { readonly code: string; readonly message: string } | null;
  readonly confirmed: { readonly release: string; readonly serial: number; readonly commit: string };
  readonly exitCode: number;
}
const status = async (): Promise<StatusDocument> => {
  const result = await gateway.clawgress(["status", "--json", "--config", gateway.configFile]);
  return { ...(JSON.parse(result.stdout) as StatusDocument), exitCode: result.exitCode };
};
const reaches = async (name: string): Promise<boolean> =>
  (await lab.client("agent1").connect(name, 443)).outcome === "connected";
const releaseFile = async (name: string): Promise<string> =>
  join(gateway.folder, "state", "releases", (await status()).confirmed.release, name);

async function expectClosed(): Promise<void> {
  await lab.mark();
  const client = lab.client("agent1");
  expect(await client.connect("a.allowed.test", 443)).toMatchObject({ outcome: "unresolved", rcode: "NXDOMAIN" });
  for (const address of [lab.names["a.allowed.test"].v4[0], lab.names["a.allowed.test"].v6[0]]) {
    expect(await client.connect(address ?? "", 443)).toMatchObject({ outcome: "refused" });
    expect((await lab.packets({ to: address ?? "" })).packets).toBe(0);
  }
  for (const to of [lab.addresses.management, lab.addresses.agent1]) {
    expect((await lab.exec("mgmt", ["ping", "-c", "1", "-W", "1", to.v4])).exitCode).toBe(0);
    expect((await lab.exec("mgmt", ["ping", "-c", "1", "-W", "1", to.v6])).exitCode).toBe(0);
  }
}

test("GE9: a revert that fails closes everything, says so everywhere, and is tried again until it succeeds", async () => {
  const stream = await lab.client("agent1").stream("a.allowed.test", 80);
  if (stream.outcome !== "connected") throw new Error("the stream does not open");
  const before = await status();
  const ruleset = await releaseFile("policy.nft");
  const damage = (async () => {
    const armed = join(gateway.folder, "state", "txn", "armed");
    while (!existsSync(armed)) await sleepMs(5);
    await rename(ruleset, `${ruleset}.away`);
  })();
  const commit = await gateway.commit(policy("a.allowed.test", "b.allowed.test"));
  await damage;
  const posted = await gateway.awaitStatus(commit, ["error", "success", "failure"]);
  expect(posted).toMatchObject({ state: "error" });
  expect(posted.description).toMatch(/^rollback failed, all is closed: APPLY_REVERT_FAILED/);

  const closed = await status();
  expect(closed).toMatchObject({ ok: false, state: "rollback-failed" });
  expect([45, 46]).toContain(closed.exitCode);
  expect(closed.confirmed).toEqual(before.confirmed);
  const text = (await gateway.clawgress(["status", "--config", gateway.configFile])).stdout;
  expect(text).toMatch(/^CLOSED {4}since .* only the lifeline is open/m);
  await expectClosed();
  await stream.stream.write();
  await sleepMs(200);
  expect((await stream.stream.state()).state).toBe("reset");
  const events = (await gateway.log()).map(({ event }) => event);
  expect(events).toContain("lifeline-only");
  expect(events).toContain("cycle-rollback-failed");

  await rename(`${ruleset}.away`, ruleset);
  await eventually("the release is restored", () => reaches("a.allowed.test"));
  await eventually("status says so", async () => (await status()).ok);
  expect(await reaches("b.allowed.test")).toBe(false);
  const told = async (): Promise<boolean> =>
    (await lab.statuses.posted()).some(
      ({ sha, description }) => sha === first && /in force again/.test(description ?? ""),
    );
  await eventually("the commit that is confirmed says so", told);
});

test("a release that is damaged on disk closes everything at a start, and the next good poll heals it", async () => {
  const commit = await gateway.commit(policy("health.allowed.test", "a.allowed.test", "www.allowed.test"));
  await gateway.awaitStatus(commit, ["success"]);
  await agent.kill("SIGKILL");
  const file = await releaseFile("gate.json");
  const sound = await readFile(file);
  await writeFile(file, sound.subarray(0, sound.length - 10));

  await lab.git.fault({ kind: "status", status: 503 });
  agent = gateway.start();
  await eventually("the damage is found", async () => (await status()).state === "closed");
  const closed = await status();
  expect(closed).toMatchObject({ ok: false, exitCode: 46, lifeline: { code: "APPLY_RELEASE_DAMAGED" } });
  expect(closed.lifeline?.message).toContain("gate.json");
  await expectClosed();
  const posted = await gateway.awaitStatus(commit, ["error"]);
  expect(posted.description).toMatch(/no longer in force, all is closed: APPLY_RELEASE_DAMAGED/);

  await lab.git.fault(null);
  await eventually("names resolve again", () => reaches("www.allowed.test"));
  await gateway.awaitStatus(commit, ["success"]);
  await eventually("status says so", async () => (await status()).ok);
  expect(await readFile(file)).toEqual(sound);
});

test("a damaged release heals by another commit as well", async () => {
  await agent.kill("SIGKILL");
  const file = await releaseFile("manifest.json");
  await writeFile(file, "{}");
  const commit = await gateway.commit(policy("health.allowed.test", "api.allowed.test"));
  agent = gateway.start();
  await gateway.awaitStatus(commit, ["success"]);
  expect(await reaches("api.allowed.test")).toBe(true);
  expect(await reaches("a.allowed.test")).toBe(false);
  await eventually("status says so", async () => (await status()).ok);
});
