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
        more: { ...host("10.80.0.98/32", "b.allowed.test"), sources: ["10.80.0.98/32", "fd80::98/128"] },
      },
    },
    config: {
      hosts: {
        right: { interface: "lan0", mac: mac.toUpperCase() },
        elsewhere: { interface: "lan1" },
        another: { mac },
        more: { mac },
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

test("a machine that several hosts are bound to has the addresses of all of them, and none without one", async () => {
  const client = lab.client("agent2");
  await lab.execChecked("agent2", ["ip", "addr", "add", "10.80.0.98/24", "dev", "eth0"]);
  await lab.execChecked("agent2", ["ip", "addr", "add", "fd80::98/64", "dev", "eth0", "nodad"]);
  for (const [family, source] of [
    [4, "10.80.0.98"],
    [6, "fd80::98"],
  ] as const) {
    const type = family === 4 ? "A" : "AAAA";
    const server = lab.addresses.lan[`v${family}`];
    const [address = ""] = lab.names["b.allowed.test"][`v${family}`];
    expect(await client.resolve("b.allowed.test", { type, server, source })).toMatchObject({ rcode: "NOERROR" });
    expect(await client.connect(address, 443, { source })).toMatchObject({ outcome: "connected" });
  }
  // What a link needs is let in, and answers no name.
  const linkLocal = async (node: "agent2" | "gateway", device: string): Promise<string> => {
    const text = await lab.execChecked(node, ["ip", "-o", "-6", "addr", "show", "dev", device, "scope", "link"]);
    return `${/inet6 (fe80:[0-9a-f:]+)/.exec(text)?.[1]}%eth0`;
  };
  const [source, server] = [await linkLocal("agent2", "eth0"), await linkLocal("gateway", "lan0")];
  const asked = await client.resolve("a.allowed.test", { server, source });
  expect(asked).toMatchObject({ rcode: "REFUSED", addresses: [] });
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

test("a bound machine that takes a free address of its segment has nothing with it, and another machine has what all may", async () => {
  /** Asks and connects from another address of the segment. */
  const reach = async (node: "agent1" | "agent2", family: 4 | 6, number: number) => {
    const source = family === 4 ? `10.80.0.${number}` : `fd80::${number}`;
    const own = family === 4 ? [`${source}/24`] : [`${source}/64`, "nodad"];
    await lab.execChecked(node, ["ip", "addr", "add", ...own.slice(0, 1), "dev", "eth0", ...own.slice(1)]);
    const client = lab.client(node);
    const type = family === 4 ? "A" : "AAAA";
    const server = lab.addresses.lan[`v${family}`];
    const answer = await client.resolve("a.allowed.test", { type, server, source, timeoutMs: 1_000 });
    const [address = ""] = lab.names["a.allowed.test"][`v${family}`];
    await lab.mark();
    const connected = await client.connect(address, 443, { source, timeoutMs: 1_000 });
    const { packets } = await lab.packets({ to: address });
    return { answer: answer.outcome, connected: connected.outcome, packets };
  };
  for (const family of [4, 6] as const) {
    expect(await reach("agent2", family, 200)).toEqual({ answer: "timeout", connected: "timeout", packets: 0 });
    expect(await reach("agent1", family, 201)).toMatchObject({ answer: "answer", connected: "connected" });
  }
  const [record] = await awaitRecords(join(gateway.folder, "run"), (one) => one.client === "10.80.0.200");
  expect(record).toMatchObject({ plane: "ip", reason: "spoofed-source", action: "drop", interface: "lan0" });
  // With the address that it is bound to, it still has what its host entry gives.
  const source = lab.addresses.agent2.v4;
  const server = lab.addresses.lan.v4;
  expect(await lab.client("agent2").resolve("b.allowed.test", { server, source })).toMatchObject({ outcome: "answer" });
  const [address = ""] = lab.names["b.allowed.test"].v4;
  const bound = await lab.client("agent2").connect(address, 443, { source });
  expect(bound).toMatchObject({ outcome: "connected" });
});

test("a client in no host entry is not bound to anything", async () => {
  expect(await lab.client("guest").connect("a.allowed.test", 443)).toMatchObject({ outcome: "connected" });
});
