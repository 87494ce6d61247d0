import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import type { LabNode } from "../lab/addresses.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { at, families, other, quick, refused, target } from "../support/both-families.ts";
import { baseUsers } from "../support/compile-samples.ts";
import { raiseDatapath } from "../support/datapath.ts";

let lab: Lab;

beforeAll(async () => {
  lab = await startLab({ routeClients: true });
  await raiseDatapath(lab);
});
afterAll(async () => await lab?.stop());
beforeEach(async () => await lab.mark());

/** Listens in a namespace and answers each connection or datagram with a word. */
async function listen(node: LabNode, port: number, word: string): Promise<void> {
  const program = `
    const host = "::";
    require("net").createServer((s) => s.on("error", () => {}).end("${word}")).listen(${port}, host);
    const u = require("dgram").createSocket("udp6");
    u.on("message", (m, r) => u.send("${word}", r.port, r.address)).bind(${port}, host, () => console.log("up"));`;
  const process_ = lab.spawn(node, [process.execPath, "-e", program]);
  for (let attempt = 0; !process_.output().includes("up"); attempt += 1) {
    if (attempt > 200) throw new Error(`port ${port} is not listened on: ${process_.output()}`);
    await sleepMs(25);
  }
}

/** Whether a program of a user on the gateway can connect. */
async function reaches(uid: number, host: string, port: number): Promise<boolean> {
  const program = `require("net").connect(${port}, "${host}").on("connect", () => process.exit(0)).on("error", () => process.exit(1))`;
  const argv = ["setpriv", "--reuid", `${uid}`, "--clear-groups", "--", process.execPath, "-e", program];
  return (await lab.exec("gateway", argv)).exitCode === 0;
}

describe("what belongs to the gateway", () => {
  beforeAll(async () => {
    for (const port of [5300, 5301, 5302, 22]) await listen("gateway", port, `port ${port}`);
  });

  it.each(families)("the gate is reached by redirected DNS alone, over IPv%i", async (family) => {
    const client = lab.client("agent1");
    for (const host of [at(lab.addresses.lan, family), at(lab.addresses.dns, family), at(other, family)]) {
      expect(await client.connect(host, 53, quick)).toMatchObject({ outcome: "connected" });
      expect(await client.udp(host, 53, quick)).toMatchObject({ outcome: "answered", data: "port 5300" });
    }
    for (const port of [5300, 5301, 5302, 22]) {
      expect(await client.connect(at(lab.addresses.lan, family), port, quick)).toMatchObject(refused);
      expect(await client.connect(at(lab.addresses.wan, family), port, quick)).toMatchObject(refused);
      expect(await client.udp(at(lab.addresses.lan, family), port, quick)).toMatchObject(refused);
    }
    expect((await lab.packets()).flows).toEqual([]);
  });

  it("is answered to pings, and to the lifeline all but the ports of named and the gate", async () => {
    for (const host of [lab.addresses.lan.v4, lab.addresses.lan.v6]) {
      expect((await lab.exec("agent1", ["ping", "-c1", "-W1", host])).exitCode).toBe(0);
    }
    const word = async (node: "mgmt" | "internet", host: string, port: number): Promise<string> =>
      (await lab.exec(node, ["curl", "-sm2", "--http0.9", `http://${host}:${port}/`])).stdout;
    expect(await word("mgmt", lab.addresses.management.v4, 22)).toBe("port 22");
    expect(await word("mgmt", lab.addresses.management.v4, 5301)).toBe("");
    expect(await word("internet", lab.addresses.wan.v4, 22)).toBe("port 22");
    for (const port of [5300, 5301, 5302]) expect(await word("internet", lab.addresses.wan.v4, port)).toBe("");
  });

  it("opens nothing to the lifeline for clients, who may answer it", async () => {
    await listen("agent1", 8022, "agent1");
    const fromAdmin = await lab.exec("mgmt", ["curl", "-sm2", "--http0.9", `http://${lab.addresses.agent1.v4}:8022/`]);
    expect(fromAdmin.stdout).toBe("agent1");
    expect(await lab.client("agent1").connect(lab.addresses.admin.v4, 22, quick)).toMatchObject(refused);
    expect(await lab.client("agent1").connect(lab.addresses.admin.v6, 22, quick)).toMatchObject(refused);
  });

  it.each(families)("confines named to its resolvers and the gate to answers, over IPv%i", async (family) => {
    const [resolver, loopback] = [at(lab.addresses.dns, family), at({ v4: "127.0.0.1", v6: "::1" }, family)];
    expect(await reaches(baseUsers.dnsUid, resolver, 53)).toBe(true);
    expect(await reaches(baseUsers.dnsUid, loopback, 5301)).toBe(true);
    expect(await reaches(baseUsers.gateUid, loopback, 5301)).toBe(true);
    expect(await reaches(30_004, resolver, 80)).toBe(true);
    await lab.mark();
    expect(await reaches(baseUsers.dnsUid, resolver, 80)).toBe(false);
    expect(await reaches(baseUsers.dnsUid, at(target, family), 53)).toBe(false);
    expect(await reaches(baseUsers.gateUid, resolver, 53)).toBe(false);
    expect((await lab.packets()).flows).toEqual([]);
  });

  it("confines the proxy to the web ports of public addresses, and lets nobody speak to it over loopback", async () => {
    for (const node of ["agent2", "mgmt"] as const) await listen(node, 443, node);
    await listen("gateway", 5443, "the proxy");
    await listen("gateway", 5490, "its relay");
    const anybody = 30_004;
    for (const family of families) {
      const inside = [at(lab.addresses.agent2, family), at(lab.addresses.admin, family)];
      for (const host of inside) expect(await reaches(anybody, host, 443), host).toBe(true);
      expect(await reaches(anybody, at(lab.addresses.wan, family), 22)).toBe(true);
      expect(await reaches(baseUsers.proxyUid, at(target, family), 443)).toBe(true);
      expect(await reaches(baseUsers.proxyUid, at(target, family), 80)).toBe(true);
      for (const host of inside) expect(await reaches(baseUsers.proxyUid, host, 443), host).toBe(false);
      for (const port of [22, 5302])
        expect(await reaches(baseUsers.proxyUid, at(lab.addresses.wan, family), port)).toBe(false);
      await lab.mark();
      expect(await reaches(baseUsers.proxyUid, at(target, family), 7000)).toBe(false);
      expect(await reaches(baseUsers.proxyUid, at(lab.addresses.dns, family), 53)).toBe(false);
      expect((await lab.packets()).flows).toEqual([]);
      for (const uid of [anybody, baseUsers.dnsUid, baseUsers.gateUid]) {
        expect(await reaches(uid, at({ v4: "127.0.0.1", v6: "::1" }, family), 5443)).toBe(false);
      }
      // The proxy's way to itself is stamped by the policy's table, which no byte cap has filled here.
      for (const uid of [anybody, baseUsers.dnsUid, baseUsers.proxyUid]) {
        expect(await reaches(uid, at({ v4: "127.0.0.1", v6: "::1" }, family), 5490)).toBe(false);
      }
    }
  });
});
