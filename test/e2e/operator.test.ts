import { existsSync } from "node:fs";
import { readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DEFAULT_PATHS, pathsOf } from "../../agent/settings/paths.ts";
import type { ConnectResult } from "../lab/client.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** What an operator says at the gateway itself: suspend, roll back, lock down, clean up. */

const policy = (...domains: string[]) => ({ version: 1, allow: { domains } });
const probes = [{ name: "a as a client", type: "tcp", host: "*", to: "a.allowed.test", port: 443 }];

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: policy("a.allowed.test"), config: { health: { probes } } });
  agent = gateway.start();
  await gateway.awaitStatus(await gateway.head(), ["success"]);
});

afterAll(async () => {
  await lab?.stop();
});

const say = async (
  ...argv: string[]
): Promise<{ exitCode: number; text: string; document: Record<string, unknown> }> => {
  const result = await gateway.clawgress([...argv, "--json", "--config", gateway.configFile], 90_000);
  return { exitCode: result.exitCode, text: result.stdout + result.stderr, document: JSON.parse(result.stdout) };
};
const reach = async (name: string): Promise<ConnectResult> => lab.client("agent1").connect(name, 443);
const REACHED = { outcome: "connected" };
const DENIED = { outcome: "unresolved", rcode: "NXDOMAIN" };

/** Waits until what `status` says holds this. */
async function awaitSaid(what: object): Promise<void> {
  let said: unknown;
  await eventually(`status says ${JSON.stringify(what)}`, async () => {
    said = (await say("status")).document;
    return matches(said, what);
  }).catch((error: Error) => {
    expect(said, error.message).toMatchObject(what);
  });
}

function matches(value: unknown, wanted: object): boolean {
  return Object.entries(wanted).every(([key, part]) => {
    const present = (value as { readonly [key: string]: unknown } | null)?.[key];
    return typeof part === "object" && part !== null ? matches(present, part) : present === part;
  });
}

async function restartAgent(): Promise<void> {
  await agent.kill();
  agent = gateway.start();
}

test("GE19: suspended, a commit is verified and reported, not applied, over a restart too; resume applies it", async () => {
  expect(await say("suspend", "--reason", "audit until noon", "--by", "carol")).toMatchObject({ exitCode: 0 });
  const commit = await gateway.commit(policy("a.allowed.test", "b.allowed.test"));
  await awaitSaid({ suspended: { by: "carol" }, last: { outcome: "waiting", commit } });
  await eventually("the commit says why it waits", async () => {
    const { description } = await gateway.awaitStatus(commit, ["pending"]);
    return description?.includes("HELD_SUSPENDED: suspended by carol") === true;
  });
  await restartAgent();
  await awaitSaid({ last: { outcome: "waiting", code: "HELD_SUSPENDED" } });
  expect(await reach("b.allowed.test")).toMatchObject(DENIED);
  expect(await reach("a.allowed.test")).toMatchObject(REACHED);

  expect(await say("resume")).toMatchObject({ exitCode: 0, document: { wasSuspended: true, agentRuns: true } });
  await gateway.awaitStatus(commit, ["success"]);
  expect(await reach("b.allowed.test")).toMatchObject(REACHED);
});

test("rollback brings back what was confirmed before, tells the commit, and holds until another policy comes", async () => {
  const left = await gateway.head();
  const refused = await say("rollback", "99", "--reason", "no such serial");
  expect(refused).toMatchObject({ exitCode: 2, document: { code: "USAGE" } });
  const done = await say("rollback", "--reason", "builds fail", "--by", "carol");
  expect(done, done.text).toMatchObject({ exitCode: 0 });
  expect(await reach("b.allowed.test")).toMatchObject(DENIED);
  expect(await reach("a.allowed.test")).toMatchObject(REACHED);
  expect((await gateway.awaitStatus(left, ["failure"])).description).toContain("rolled back by carol: builds fail");

  await restartAgent();
  await awaitSaid({ pending: { code: "APPLY_BAD_RELEASE", commit: left } });
  expect(await reach("b.allowed.test")).toMatchObject(DENIED);

  const next = await gateway.commit(policy("a.allowed.test", "api.allowed.test"));
  await gateway.awaitStatus(next, ["success"]);
  expect(await reach("api.allowed.test")).toMatchObject(REACHED);
});

test("an operator's word lets a rolled back release be tried once more", async () => {
  const commit = await gateway.head();
  expect((await say("rollback", "--reason", "only a moment")).exitCode).toBe(0);
  expect(await reach("api.allowed.test")).toMatchObject(DENIED);
  await gateway.awaitStatus(commit, ["failure"]);
  expect((await say("resume", "--retry")).exitCode).toBe(0);
  await gateway.awaitStatus(commit, ["success"]);
  expect(await reach("api.allowed.test")).toMatchObject(REACHED);
});

test("a rollback while another commit is staged stands, though that commit fails its probes afterwards", async () => {
  await agent.kill();
  agent = gateway.start({ step: "1-stage", moment: "after", do: "wait", jitterMs: 15_000 });
  await awaitSaid({ counts: { cycles: { confirmed: 1 } } });
  const releases = async (): Promise<number> => (await readdir(join(gateway.folder, "state", "releases"))).length;
  const before = await releases();
  const broken = await gateway.commit(policy("b.allowed.test"));
  await eventually("the commit is being staged", async () => (await releases()) > before);
  const done = await say("rollback", "--reason", "builds fail again");
  expect(done, done.text).toMatchObject({ exitCode: 0 });
  const staged = (await gateway.log()).filter(({ event, commit }) => event === "release-staged" && commit === broken);
  expect(staged, "the rollback came while it was staged").toHaveLength(0);
  expect((await gateway.awaitStatus(broken, ["failure"])).description).toContain("HEALTH_FAILED");
  expect(await reach("api.allowed.test")).toMatchObject(DENIED);
  expect(await reach("b.allowed.test")).toMatchObject(DENIED);
  expect(await reach("a.allowed.test")).toMatchObject(REACHED);
  await restartAgent();
});

test("while the glass is broken, a rollback is refused, and what was broken for stays until its end", async () => {
  const file = join(gateway.folder, "emergency.json");
  await writeFile(file, JSON.stringify(policy("a.allowed.test", "b.allowed.test")));
  const config = ["--config", gateway.configFile];
  const pidOf = async (): Promise<unknown> => (await say("status")).document["agent"];
  await eventually("the agent answers", async () => ((await pidOf()) as { pid: number | null }).pid !== null);
  const why = ["--break-glass", "--reason", "the mirror moved", "--for", "60s"];
  const broken = await gateway.clawgress(["policy", "import", "file", file, ...why, ...config]);
  expect(broken.exitCode, broken.stdout + broken.stderr).toBe(0);
  expect(await say("rollback", "--reason", "go back")).toMatchObject({
    exitCode: 72,
    document: { code: "BREAK_GLASS" },
  });
  expect(await reach("b.allowed.test")).toMatchObject(REACHED);
  expect((await gateway.clawgress(["policy", "end-break-glass", ...config])).exitCode).toBe(0);
  expect(await reach("b.allowed.test")).toMatchObject(DENIED);
  expect(await reach("a.allowed.test")).toMatchObject(REACHED);
});

async function expectClosed(): Promise<void> {
  await lab.mark();
  const client = lab.client("agent1");
  expect((await client.connect("a.allowed.test", 443)).outcome).toBe("unresolved");
  for (const address of [lab.names["a.allowed.test"].v4[0], lab.names["a.allowed.test"].v6[0]]) {
    expect((await client.connect(address ?? "", 443)).outcome).toBe("refused");
    expect((await lab.packets({ to: address ?? "", protocol: "tcp", port: 443 })).packets).toBe(0);
  }
  expect((await lab.queries({ name: "a.allowed.test" })).length).toBe(0);
  expect((await lab.exec("mgmt", ["ping", "-c", "1", "-W", "1", lab.addresses.agent1.v4])).exitCode).toBe(0);
}

test("lockdown closes all but the lifeline at once, ends what runs, holds over a restart, and is ended on purpose", async () => {
  const opened = await lab.client("agent1").stream("a.allowed.test", 80);
  if (opened.outcome !== "connected") throw new Error("the stream does not open");
  expect(await say("lockdown", "--reason", "agent-3 is compromised")).toMatchObject({ exitCode: 0 });
  await expectClosed();
  await eventually("the stream is silent", async () => {
    const { silentMs, state } = await opened.stream.state();
    return state !== "open" || silentMs > 1_000;
  });
  await restartAgent();
  await awaitSaid({ ok: false, state: "lockdown" });
  await expectClosed();
  const commit = await gateway.commit(policy("a.allowed.test"));
  await gateway.awaitStatus(commit, ["pending"]);
  await expectClosed();
  expect(await say("lockdown", "--end")).toMatchObject({ exitCode: 0, document: { wasLockedDown: true } });
  await gateway.awaitStatus(commit, ["success"]);
  expect(await reach("a.allowed.test")).toMatchObject(REACHED);
});

test("lockdown works with a broken configuration, no agent, no base table and damaged pointers; its end restores", async () => {
  await agent.kill();
  const config = await readFile(gateway.configFile, "utf8");
  const pointers = join(gateway.folder, "state", "pointers");
  await rename(pointers, `${pointers}.away`);
  const sound = await say("lockdown", "--reason", "state is gone");
  expect(sound, sound.text).toMatchObject({ exitCode: 0 });
  await expectClosed();
  await writeFile(gateway.configFile, "{ broken");
  await lab.execChecked("gateway", ["nft", "delete", "table", "inet", "clawgress_base"]);
  const broken = await say("lockdown", "--reason", "everything is broken");
  expect(broken, broken.text).toMatchObject({ exitCode: 0 });
  // Without agent.json its notes are where agent.json says nothing, which is this machine's own folders.
  const { lockdown, lifeline } = pathsOf({ paths: DEFAULT_PATHS });
  expect(JSON.parse(await readFile(lockdown, "utf8"))).toMatchObject({ reason: "everything is broken" });
  for (const note of [lockdown, lifeline]) await rm(note);
  await lab.mark();
  const address = lab.names["a.allowed.test"].v4[0] ?? "";
  expect((await lab.client("agent1").connect(address, 443, { timeoutMs: 1_000 })).outcome).not.toBe("connected");
  expect((await lab.packets({ to: address })).packets).toBe(0);

  await writeFile(gateway.configFile, config);
  await rename(`${pointers}.away`, pointers);
  const ended = await say("lockdown", "--end");
  expect(ended, ended.text).toMatchObject({ exitCode: 0 });
  expect(await reach("a.allowed.test")).toMatchObject(REACHED);
});

test("cleanup asks, refuses beside a running agent, and leaves other tables and no forwarding", async () => {
  await lab.execChecked("gateway", ["nft", "add", "table", "inet", "somebody_else"]);
  agent = gateway.start();
  await eventually("the agent runs", async () => (await say("resume")).document["agentRuns"] === true);
  expect((await say("cleanup", "--yes")).document).toMatchObject({ ok: false, code: "STATE_LOCKED" });
  expect((await say("cleanup")).document).toMatchObject({ ok: false, code: "USAGE" });
  expect(await reach("a.allowed.test")).toMatchObject(REACHED);
  await agent.kill();
  expect(await say("cleanup", "--yes")).toMatchObject({ exitCode: 0 });
  const tables = (await lab.execChecked("gateway", ["nft", "list", "tables"]))
    .split("\n")
    .filter((line) => line !== "");
  expect(tables).toEqual(["table inet somebody_else"]);
  expect((await lab.execChecked("gateway", ["cat", "/proc/sys/net/ipv4/ip_forward"])).trim()).toBe("0");
  expect(existsSync(join(gateway.folder, "run"))).toBe(false);
  await lab.mark();
  const address = lab.names["a.allowed.test"].v4[0] ?? "";
  expect((await lab.client("agent1").connect(address, 443, { timeoutMs: 500 })).outcome).not.toBe("connected");
  expect((await lab.packets({ to: address })).packets).toBe(0);
});
