import { afterAll, beforeAll, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import type { LabStream } from "../lab/client.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";
import { fateOf, openStream } from "../support/streams.ts";

/** A client that gets a host entry of its own, or loses it, goes on with what it may reach before and after. */

/** Data comes every 100 ms, and a move leaves a few to see what is missing: many flows find it. */
const FLOWS = 20;

let lab: Lab;
let gateway: TestGateway;

const both = { domains: ["a.allowed.test", "b.allowed.test"], ports: [80] };
const everyone = { version: 1, allow: both };
const withOwn = (name: string, ports: readonly unknown[]): object => ({
  ...everyone,
  hosts: { [name]: { sources: ["10.80.0.10/32", "fd80::10/128"], allow: { domains: ["a.allowed.test"], ports } } },
});

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: everyone });
  gateway.start();
  await gateway.awaitStatus(await gateway.head(), ["success"]);
});
afterAll(async () => {
  await lab?.stop();
});

const open = (name: string, family: 4 | 6) => openStream(lab.client("agent1"), name, 80, family);

test.each([
  { where: "into an entry of its own", document: withOwn("one", [80]), before: "connected", after: "unresolved" },
  {
    where: "into another, whose ports are written wider",
    ...{ document: withOwn("two", ["79-81"]), before: "unresolved", after: "unresolved" },
  },
  {
    where: "back to what is for everyone",
    ...{ document: { ...everyone, allow: { ...both, ports: ["79-81"] } }, before: "unresolved", after: "connected" },
  },
])("a client that goes $where keeps its running flows, and has no others", async ({ document, before, after }) => {
  const kept: LabStream[] = [];
  for (const family of [4, 6] as const) {
    for (let count = 0; count < FLOWS / 2; count += 1) {
      kept.push(await open("a.allowed.test", family));
      // Not all of them at the same moment of their period.
      await sleepMs(7);
    }
  }
  const other = await lab.client("agent1").stream("b.allowed.test", 80, { family: 4 });
  expect(other.outcome).toBe(before);
  const commit = await gateway.commit({ ...document });
  await gateway.awaitStatus(commit, ["success"]);
  expect(await Promise.all(kept.map(fateOf))).toEqual(Array(FLOWS).fill("goes on"));
  // Its server was reset; it says nothing itself, and so does not hear of it.
  if (other.outcome === "connected") expect(await fateOf(other.stream)).toBe("hangs");
  expect((await lab.client("agent1").connect("b.allowed.test", 80)).outcome).toBe(after);
  await Promise.all(kept.map((stream) => stream.close()));
});
