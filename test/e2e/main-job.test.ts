import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** The main job: what a team merges is what the gateway enforces, and the commit says so. */

const allow = (...domains: string[]) => ({
  version: 1,
  allow: { domains: ["health.allowed.test", ...domains], ports: [80, 443, 7000] },
});
const probes = [{ name: "health page", type: "tcp", host: "*", to: "health.allowed.test", port: 443 }];

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: allow("a.allowed.test"), config: { health: { probes } } });
  agent = gateway.start();
  const first = await gateway.head();
  await gateway.awaitStatus(first, ["success", "failure", "error"]);
});

afterAll(async () => {
  await lab?.stop();
});

const families = [
  ["IPv4", 4],
  ["IPv6", 6],
] as const;

describe.each(families)("over %s", (_, family) => {
  test("an allowed name is reached and a denied one is not even asked for", async () => {
    const client = lab.client("agent1");
    await lab.mark();
    expect(await client.get("a.allowed.test", 443, { family })).toMatchObject({ outcome: "connected", status: 200 });
    expect(await client.connect("www.denied.test", 443, { family })).toMatchObject({
      outcome: "unresolved",
      rcode: "NXDOMAIN",
    });
    const direct = (lab.names["denied.test"][`v${family}`] as readonly string[])[0] ?? "";
    expect(await client.connect(direct, 443)).toMatchObject({ outcome: "refused" });

    expect(await lab.queries({ name: "a.allowed.test" })).not.toHaveLength(0);
    expect(await lab.queries({ name: "*.denied.test" })).toHaveLength(0);
    expect((await lab.packets({ to: lab.names["a.allowed.test"][`v${family}`][0] ?? "" })).packets).toBeGreaterThan(0);
    expect((await lab.packets({ to: direct })).packets).toBe(0);
  });

  test("an allowed name is closed on a port that is not listed", async () => {
    const client = lab.client("agent1");
    expect(await client.connect("a.allowed.test", 443, { family })).toMatchObject({ outcome: "connected" });
    await lab.mark();
    expect(await client.connect("a.allowed.test", 8080, { family })).toMatchObject({ outcome: "refused" });
    const [address = ""] = lab.names["a.allowed.test"][`v${family}`];
    expect((await lab.packets({ to: address, port: 8080 })).packets).toBe(0);
  });
});

test("a signed commit that adds a name is enforced, and its status says who approved what", async () => {
  const client = lab.client("agent1");
  expect(await client.connect("b.allowed.test", 443)).toMatchObject({ outcome: "unresolved" });
  const commit = await gateway.commit(allow("a.allowed.test", "b.allowed.test"));
  const status = await gateway.awaitStatus(commit, ["success", "failure", "error"]);
  expect(status).toMatchObject({ state: "success", context: "clawgress/gw-lab" });
  expect(status.description).toMatch(/\+1 domain, serial \d+, by alice, bob/);
  for (const [, family] of families) {
    expect(await client.connect("b.allowed.test", 443, { family })).toMatchObject({ outcome: "connected" });
  }
});

test("a commit that is seen is pending first", async () => {
  const commit = await gateway.commit(allow("a.allowed.test", "b.allowed.test", "www.allowed.test"));
  await gateway.awaitStatus(commit, ["success"]);
  const states = (await lab.statuses.posted()).filter(({ sha }) => sha === commit).map(({ state }) => state);
  expect(states.join(",")).toBe("pending,success");
});

test("GE17: a removed name ends its open connection, and no other flow notices", async () => {
  const client = lab.client("agent1");
  const kept = await client.stream("a.allowed.test", 80);
  const gone = await client.stream("b.allowed.test", 80);
  if (kept.outcome !== "connected" || gone.outcome !== "connected") throw new Error("the streams do not open");
  const commit = await gateway.commit(allow("a.allowed.test", "www.allowed.test"));
  await gateway.awaitStatus(commit, ["success"]);
  const cutAt = (await gone.stream.state()).bytes;
  const before = await kept.stream.state();
  await sleepMs(300);
  expect((await gone.stream.state()).bytes).toBe(cutAt);
  // Each side is told at its own next packet: the server was by its next line, the client is when it speaks.
  await gone.stream.write();
  await sleepMs(100);
  expect((await gone.stream.state()).state).toBe("reset");
  await sleepMs(500);
  const after = await kept.stream.state();
  expect(after.state).toBe("open");
  expect(after.bytes).toBeGreaterThan(before.bytes);
  expect(await client.connect("b.allowed.test", 80)).toMatchObject({ outcome: "unresolved", rcode: "NXDOMAIN" });
});

test("a commit with too few approvals is refused, and the old policy stays", async () => {
  const commit = await gateway.commit(allow("a.allowed.test", "b.allowed.test"), { signers: ["alice"] });
  const status = await gateway.awaitStatus(commit, ["success", "failure", "error"]);
  expect(status).toMatchObject({ state: "failure" });
  expect(status.description).toContain("TRUST_UNSIGNED");
  const client = lab.client("agent1");
  expect(await client.connect("b.allowed.test", 443)).toMatchObject({ outcome: "unresolved" });
  expect(await client.connect("a.allowed.test", 443)).toMatchObject({ outcome: "connected" });
});

test("a commit signed by a stranger is refused", async () => {
  const commit = await gateway.commit(allow("a.allowed.test", "b.allowed.test"), {
    signers: ["alice"],
    tamper: async (clone) => {
      const { readdir } = await import("node:fs/promises");
      const [folder] = await readdir(join(clone, "approvals"));
      const path = join(clone, "approvals", folder ?? "", "bob.sig");
      const lock = await readFile(join(clone, "clawgress.lock.json"), "utf8");
      const key = gateway.keys["mallory"] ?? "";
      const argv = ["ssh-keygen", "-Y", "sign", "-n", "clawgress-policy@v1", "-f", key, "-"];
      const signature = await lab.execChecked("internet", argv, { stdin: lock });
      await writeFile(path, signature);
    },
  });
  const status = await gateway.awaitStatus(commit, ["success", "failure", "error"]);
  expect(status).toMatchObject({ state: "failure" });
  expect(status.description).toContain("TRUST_UNSIGNED");
});

test("GE10: a commit that breaks the health probe is rolled back, says why, and is not tried again, by a new agent neither", async () => {
  const client = lab.client("agent1");
  const stream = await client.stream("a.allowed.test", 80);
  if (stream.outcome !== "connected") throw new Error("the stream does not open");
  const broken = { version: 1, allow: { domains: ["a.allowed.test", "www.allowed.test"], ports: [80, 443, 7000] } };
  const commit = await gateway.commit(broken);
  const status = await gateway.awaitStatus(commit, ["success", "failure", "error"]);
  expect(status).toMatchObject({ state: "failure" });
  expect(status.description).toMatch(/rolled back: HEALTH_FAILED: .*health page/);
  expect(await client.connect("health.allowed.test", 443)).toMatchObject({ outcome: "connected" });
  expect((await stream.stream.state()).state).toBe("open");

  const again = await gateway.commit(broken, { message: "the same once more" });
  const second = await gateway.awaitStatus(again, ["success", "failure", "error"]);
  expect(second).toMatchObject({ state: "failure" });
  expect(second.description).toContain("APPLY_BAD_RELEASE");

  await agent.kill("SIGKILL");
  const earlier = (await gateway.log()).length;
  agent = gateway.start();
  const since = async (): Promise<readonly string[]> =>
    (await gateway.log()).slice(earlier).map(({ event, code }) => `${event} ${code ?? ""}`.trim());
  await eventually("a new agent has looked at it", async () =>
    (await since()).includes("cycle-refused APPLY_BAD_RELEASE"),
  );
  expect(await since()).not.toContain("apply-armed");
  expect(await client.connect("health.allowed.test", 443)).toMatchObject({ outcome: "connected" });
});

test("deny-all closes everything but the lifeline, and a later commit opens again", async () => {
  const client = lab.client("agent1");
  // The probe's name goes as well, so this gateway's own health check would refuse it: expected to be rolled back.
  const closed = await gateway.commit({ version: 1, mode: "deny-all", allow: { domains: ["a.allowed.test"] } });
  expect((await gateway.awaitStatus(closed, ["success", "failure", "error"])).state).toBe("failure");
  const open = await gateway.commit(allow("a.allowed.test", "api.allowed.test"));
  expect((await gateway.awaitStatus(open, ["success", "failure", "error"])).state).toBe("success");
  expect(await client.connect("api.allowed.test", 443)).toMatchObject({ outcome: "connected" });
});

test("no status broke the forge's contract", async () => {
  expect(await lab.statuses.violations()).toEqual([]);
});
