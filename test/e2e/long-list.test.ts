import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MAX_WHOLE_NAMES } from "../../agent/compile/shards.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** A list of names that is cut into shards, from the commit to the wire, while it changes. */

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;
const filler = Array.from(
  { length: MAX_WHOLE_NAMES + 20 },
  (_, index) => `host-${index}.service-${index % 9}.example.com`,
);
const policy = (names: readonly string[], rest = filler) => ({
  version: 1,
  allow: { domains: ["health.allowed.test", ...rest.slice(0, 100), ...names, ...rest.slice(100)], ports: [80, 443] },
});

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: policy(["one.wild.test", "two.fresh.test"]) });
  agent = gateway.start();
  await gateway.awaitStatus(await gateway.head(), ["success"]);
});

afterAll(async () => {
  await agent?.kill("SIGTERM");
  await lab?.stop();
});

const outcome = async (name: string): Promise<string> => (await lab.client("agent1").connect(name, 443)).outcome;

async function pidOf(file: string): Promise<number> {
  return (JSON.parse(await readFile(join(gateway.folder, "run", file), "utf8")) as { pid: number }).pid;
}

async function namedReloads(): Promise<number> {
  const log = await readFile(join(gateway.folder, "run", "named", "work", "named.log"), "utf8");
  return log.split("\n").filter((line) => /received control channel command 'reload'/.test(line)).length;
}

test("names of every part of the list are allowed, others are denied and asked of nobody", async () => {
  await lab.mark();
  expect(await outcome("one.wild.test")).toBe("connected");
  expect(await outcome("two.fresh.test")).toBe("connected");
  expect(await outcome("three.fresh.test")).toBe("unresolved");
  expect(await lab.queries({ name: "three.fresh.test" })).toEqual([]);
  expect((await lab.queries({ name: "one.wild.test" })).length).toBeGreaterThan(0);
});

// The names are on addresses of their own: a flow goes on while another name of its address is allowed.
test("a change of one name is in force at once, and named loads only the parts that changed", async () => {
  const named = await pidOf("named.pid.json");
  const before = await namedReloads();
  const held = await lab.client("agent1").stream("one.wild.test", 80);
  const kept = await lab.client("agent1").stream("two.fresh.test", 80);
  if (held.outcome !== "connected" || kept.outcome !== "connected") throw new Error("no stream");
  await gateway.awaitStatus(await gateway.commit(policy(["two.fresh.test", "three.fresh.test"])), ["success"]);
  await lab.mark();
  expect(await outcome("three.fresh.test")).toBe("connected");
  expect(await outcome("one.wild.test")).toBe("unresolved");
  expect(await lab.queries({ name: "one.wild.test" })).toEqual([]);
  // Its next packet tells a client that its flow is over.
  await held.stream.write();
  await eventually("the flow of the name that went ends", async () => (await held.stream.state()).state === "reset");
  expect((await kept.stream.state()).state).toBe("open");
  await kept.stream.close();
  expect(await pidOf("named.pid.json")).toBe(named);
  // All of them would be one command without a zone.
  expect(await namedReloads()).toBe(before);
  // Nothing was executed for it.
  expect((await gateway.log()).filter(({ event }) => event === "named-by-rndc")).toEqual([]);
});

test("a denial names the line of the rule that almost allowed it, as the list has it now", async () => {
  expect(await outcome("below.two.fresh.test")).toBe("unresolved");
  const file = join(gateway.folder, "run", "gate", "deny.jsonl");
  const line = (await readFile(file, "utf8")).split("\n").find((text) => text.includes('"below.two.fresh.test"'));
  const { rule, nearMiss } = JSON.parse(line ?? "{}") as { rule: { line: number; pointer: string }; nearMiss: string };
  expect(nearMiss).toBe("two.fresh.test is listed, but not its subdomains");
  expect(rule).toMatchObject({ file: "policy.json", pointer: "/allow/domains/101" });
});

test("a gate that dies comes back with the whole list", async () => {
  process.kill(await pidOf("gate.pid.json"), "SIGKILL");
  await eventually("names are answered again", async () => (await outcome("three.fresh.test")) === "connected");
  expect(await outcome("one.wild.test")).toBe("unresolved");
});

test("a release with a damaged part is compiled again and is in force", async () => {
  await agent.kill("SIGTERM");
  const { confirmed } = JSON.parse(await readFile(join(gateway.folder, "run", "status.json"), "utf8")) as {
    confirmed: { release: string };
  };
  const part = join(gateway.folder, "state", "releases", confirmed.release, "names-05.json");
  const sound = await readFile(part);
  await lab.execChecked("gateway", ["cp", "/dev/null", part]);
  agent = gateway.start();
  // It is not there while it is written anew.
  const isWhole = async (): Promise<boolean> => (await readFile(part).catch(() => null))?.equals(sound) ?? false;
  await eventually("it is whole again", isWhole);
  await eventually("names are answered again", async () => (await outcome("three.fresh.test")) === "connected");
});

test("a list that becomes short is one zone again, and the other way round", async () => {
  await gateway.awaitStatus(await gateway.commit(policy(["one.wild.test"], filler.slice(0, 200))), ["success"]);
  expect(await outcome("one.wild.test")).toBe("connected");
  expect(await outcome("three.fresh.test")).toBe("unresolved");
  await gateway.awaitStatus(await gateway.commit(policy(["three.fresh.test"])), ["success"]);
  expect(await outcome("one.wild.test")).toBe("unresolved");
  expect(await outcome("three.fresh.test")).toBe("connected");
});
