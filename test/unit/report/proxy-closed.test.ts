import { expect, test } from "vitest";
import { buildDecider } from "../../../agent/policy/decide.ts";
import { closedDenial, createClosedWatch } from "../../../agent/report/proxy-closed.ts";
import { policyOf } from "../../support/compile-samples.ts";

interface Bench {
  counts: ReadonlyMap<string, number> | null;
  readonly told: string[];
  readonly look: () => Promise<void>;
}

function bench(first: ReadonlyMap<string, number> | null): Bench {
  const told: string[] = [];
  const world = { counts: first };
  const read = async (): Promise<ReadonlyMap<string, number>> => {
    if (world.counts === null) throw new Error("no proxy");
    return world.counts;
  };
  const look = createClosedWatch(read, async (plane, client, count) => void told.push(`${plane} ${client} ${count}`));
  return Object.assign(world, { told, look });
}

test("what came since the last look is told once, by plane and client", async () => {
  const it = bench(new Map([["tls 10.0.0.1", 7]]));
  await it.look();
  expect(it.told).toEqual([]);
  it.counts = new Map([
    ["tls 10.0.0.1", 9],
    ["http fd80::1", 3],
  ]);
  await it.look();
  await it.look();
  expect(it.told).toEqual(["tls 10.0.0.1 2", "http fd80::1 3"]);
});

test("all that a proxy counts which comes later is new", async () => {
  const it = bench(null);
  await it.look();
  it.counts = new Map([["tls 10.0.0.1", 5]]);
  await it.look();
  expect(it.told).toEqual(["tls 10.0.0.1 5"]);
  it.counts = null;
  await it.look();
  it.counts = new Map([["tls 10.0.0.1", 6]]);
  await it.look();
  expect(it.told).toEqual(["tls 10.0.0.1 5", "tls 10.0.0.1 6"]);
});

test("a client that the proxy forgot begins anew", async () => {
  const it = bench(new Map([["tls 10.0.0.1", 50]]));
  await it.look();
  it.counts = new Map([["tls 10.0.0.1", 4]]);
  await it.look();
  it.counts = new Map();
  await it.look();
  it.counts = new Map([["tls 10.0.0.1", 1]]);
  await it.look();
  expect(it.told).toEqual(["tls 10.0.0.1 4", "tls 10.0.0.1 1"]);
});

test("a record of it says who it was, and that nothing was read", () => {
  const policy = policyOf({
    version: 1,
    allow: { domains: ["a.example.com"] },
    hosts: { one: { sources: ["10.0.0.1"], allow: { domains: ["b.example.com"] } } },
  });
  const judged = { commit: "abcdef0", serial: 41, decider: buildDecider(policy) };
  const denial = closedDenial("http", "10.0.0.1", judged);
  expect(denial).toMatchObject({ plane: "http", reason: "proxy-rate", client: "10.0.0.1" });
  const who = { host: "one", group: "one", port: 80, action: "close", commit: "abcdef0", serial: 41, name: null };
  expect(denial.describe()).toMatchObject({ ...who, proxy: { bytesUp: 0, connectMs: -1, clientPort: 0 } });
  expect(closedDenial("tls", "10.0.0.1", null).describe()).toMatchObject({ host: null, port: 443, commit: null });
});
