import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** Damage on disk costs no visit: what is denied stays denied, and the gateway comes back by itself. */

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;
const policy = (...domains: string[]) => ({ version: 1, allow: { domains, ports: [80, 443] } });
const probes = [
  { name: "page as a client", type: "tcp", host: "*", to: "a.allowed.test", port: 443 },
  // Never passes, and so is blamed on nothing; it gives a test the time to interfere.
  { name: "slow", type: "tcp", to: "v4only.allowed.test", port: 443, timeoutMs: 1_500, attempts: 1 },
];
const denied = "203.0.113.12";

beforeAll(async () => {
  lab = await startLab({ routeClients: true });
  const [address = ""] = lab.names["v4only.allowed.test"].v4;
  await lab.block([{ to: address, protocol: "tcp", port: 443, how: "drop" }]);
  gateway = await setUpGateway(lab, { policy: policy("a.allowed.test"), config: { health: { probes }, lifeline: [] } });
  agent = gateway.start();
  const first = await gateway.head();
  await gateway.awaitStatus(first, ["success"]);
});

afterAll(async () => {
  await agent?.kill("SIGTERM");
  await lab?.stop();
});

const outcome = async (to: string): Promise<string> => (await lab.client("agent1").connect(to, 443)).outcome;

async function countEvents(name: string, commit: string): Promise<number> {
  return (await gateway.log()).filter(({ event, commit: of }) => event === name && of === commit).length;
}

test("a gateway that nobody could manage from a client interface says so when it starts", async () => {
  expect((await gateway.log()).map(({ event }) => event)).toContain("no-lifeline");
});

test("a revert that fails is tried again until it holds; the release that it ended is not", async () => {
  const commit = await gateway.commit(policy("b.allowed.test"));
  await eventually("the change is in force", async () => {
    const armed = (await gateway.log()).findIndex(({ event, commit: of }) => event === "apply-armed" && of === commit);
    return armed >= 0 && (await gateway.log()).slice(armed).some(({ event }) => event === "apply-read-back");
  });
  const zone = join(gateway.folder, "run", "named", "allow.zone");
  await rm(zone);
  await mkdir(zone);
  const status = await gateway.awaitStatus(commit, ["error", "failure"]);
  expect(status.description).toContain("could not be restored");
  await sleepMs(2500);
  await rm(zone, { recursive: true });
  await eventually("the old release is back", async () => (await outcome("a.allowed.test")) === "connected");
  expect(await outcome("b.allowed.test")).toBe("unresolved");
  expect(await countEvents("apply-armed", commit)).toBe(1);
  expect((await gateway.awaitStatus(commit, ["failure"])).description).toContain("rolled back before");
});

test("zones that a killed agent wrote and never had loaded are loaded by the commit that they belong to", async () => {
  const next = policy("a.allowed.test", "health.allowed.test");
  await agent.kill("SIGKILL");
  const file = join(gateway.folder, "next.json");
  const out = join(gateway.folder, "next");
  await writeFile(file, `${JSON.stringify(next, null, 2)}\n`);
  const compiled = await gateway.clawgress(["compile", file, "--out", out, "--config", gateway.configFile]);
  expect(compiled.stderr).toBe("");
  // Only the names of files in comments differ from what the commit will bring.
  const zone = (await readFile(join(out, "allow.zone"), "utf8")).replaceAll(
    file.replace(/[^A-Za-z0-9._/-]/g, "_"),
    "policy.json",
  );
  await writeFile(join(gateway.folder, "run", "named", "allow.zone"), zone);
  agent = gateway.start();
  const commit = await gateway.commit(next);
  expect((await gateway.awaitStatus(commit, ["success", "failure", "error"])).state).toBe("success");
  expect(await readFile(join(gateway.folder, "run", "named", "allow.zone"), "utf8")).toBe(zone);
});

test.each(["allow.zone", "manifest.json"])("a release whose %s is damaged is compiled again", async (file) => {
  const commit = await gateway.commit(policy("a.allowed.test", file === "allow.zone" ? "b.allowed.test" : "c.test"));
  await gateway.awaitStatus(commit, ["success"]);
  const { digest } = JSON.parse((await gateway.clawgress(["status", "--json", "--config", gateway.configFile])).stdout)
    .gate as { digest: string };
  const path = join(gateway.folder, "state", "releases", digest, file);
  const whole = await readFile(path);

  // As after a reboot: nothing runs, no rules stand, and what lies in the run folder is gone.
  await agent.kill("SIGKILL");
  const run = join(gateway.folder, "run");
  for (const name of (await readdir(run)).filter((entry) => entry.endsWith(".pid.json"))) {
    process.kill((JSON.parse(await readFile(join(run, name), "utf8")) as { pid: number }).pid, "SIGKILL");
  }
  await lab.execChecked("gateway", ["nft", "flush", "ruleset"]);
  await rm(run, { recursive: true });
  await writeFile(path, whole.subarray(0, whole.length - 2));

  await lab.git.fault({ kind: "status", status: 503 });
  agent = gateway.start();
  await eventually("the gate denies", async () => {
    const answer = await lab.client("agent1").resolve("a.allowed.test");
    return answer.outcome === "answer" && answer.rcode === "NXDOMAIN";
  });
  await lab.mark();
  expect(await outcome(denied)).toBe("refused");
  expect((await lab.packets({ to: denied })).packets).toBe(0);
  await lab.git.fault(null);
  await eventually("the release is in force again", async () => (await outcome("a.allowed.test")) === "connected");
  expect(await readFile(path)).toEqual(whole);
});
