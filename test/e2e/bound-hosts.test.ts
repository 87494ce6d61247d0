import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Lab, startLab } from "../lab/lab.ts";
import { awaitRecords } from "../support/deny-records.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** agent.json says where a host's machines are: their addresses are worth nothing elsewhere. */

const host = (address: string, name: string) => ({ sources: [address], allow: { domains: [name], ports: [443] } });

let lab: Lab;
let gateway: TestGateway;

beforeAll(async () => {
  lab = await startLab();
  const link = await lab.execChecked("agent2", ["ip", "-o", "link", "show", "type", "veth"]);
  const mac = /link\/ether ([0-9a-f:]{17})/.exec(link)?.[1] ?? "";
  gateway = await setUpGateway(lab, {
    policy: {
      version: 1,
      allow: { domains: ["a.allowed.test"] },
      hosts: {
        right: host("10.80.0.11/32", "b.allowed.test"),
        elsewhere: host("10.80.0.10/32", "b.allowed.test"),
        another: host("10.80.0.99/32", "b.allowed.test"),
      },
    },
    config: {
      hosts: {
        right: { interface: "lan0", mac: mac.toUpperCase() },
        elsewhere: { interface: "lan1" },
        another: { mac },
      },
    },
  });
  const first = await gateway.sync();
  expect(first, first.message).toMatchObject({ ok: true });
});

afterAll(async () => {
  await lab?.stop();
});

test("a machine that is where it is said to be works", async () => {
  expect(await lab.client("agent2").connect("b.allowed.test", 443)).toMatchObject({ outcome: "connected" });
});

test.each(["agent1", "stray"] as const)(
  "%s uses the address of a host that is elsewhere: nothing of it passes",
  async (node) => {
    const [address = ""] = lab.names["b.allowed.test"].v4;
    await lab.mark();
    expect(await lab.client(node).resolve("b.allowed.test", { timeoutMs: 500 })).toMatchObject({ outcome: "timeout" });
    expect(await lab.client(node).connect(address, 443, { timeoutMs: 500 })).toMatchObject({ outcome: "timeout" });
    expect((await lab.packets({ to: address })).packets).toBe(0);
  },
);

test("each is recorded with the address that it used, and what is counted is no change of the rules", async () => {
  for (const client of [lab.addresses.agent1.v4, lab.addresses.stray.v4]) {
    const [record] = await awaitRecords(join(gateway.folder, "run"), (one) => one.client === client);
    expect(record).toMatchObject({ plane: "ip", reason: "spoofed-source", action: "drop", interface: "lan0" });
  }
  const counters = await lab.execChecked("gateway", ["nft", "list", "counter", "inet", "clawgress", "denied_bound"]);
  expect(Number(/packets (\d+)/.exec(counters)?.[1])).toBeGreaterThanOrEqual(4);
  await gateway.sync();
  expect((await gateway.log()).filter(({ event }) => event === "enforcing").at(-1)).toMatchObject({ restored: false });
});

test("a client in no host entry is not bound to anything", async () => {
  expect(await lab.client("guest").connect("a.allowed.test", 443)).toMatchObject({ outcome: "connected" });
});
