import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Lab, startLab } from "../lab/lab.ts";

let lab: Lab;

/** What a person does to see through the gateway: forward, and hide the clients behind it. */
async function openForwarding(node: Lab): Promise<void> {
  const ruleset = `table inet open {
    chain post { type nat hook postrouting priority srcnat; oifname "wan0" masquerade; }
  }
  `;
  await node.execChecked("gateway", ["nft", "-f", "-"], { stdin: ruleset });
  await node.execChecked("gateway", ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
}

beforeAll(async () => {
  lab = await startLab();
  console.log(`lab ${lab.id} was up after ${Math.round(lab.startMs)} ms`);
});

afterAll(async () => {
  await lab?.stop();
});

describe("a closed gateway", () => {
  test("lets nothing reach the internet side", async () => {
    await lab.mark();
    const client = lab.client("agent1");
    const attempts = await Promise.all([
      client.connect(lab.addresses.git.v4, 443, { timeoutMs: 300 }),
      client.connect(lab.addresses.git.v6, 443, { timeoutMs: 300 }),
      client.udp("203.0.113.10", 7001, { timeoutMs: 300 }),
    ]);
    expect(attempts.map(({ outcome }) => outcome)).not.toContain("connected");
    expect(await lab.packets()).toMatchObject({ packets: 0, flows: [] });
  });

  test("answers its own clients and knows the way to the services", async () => {
    for (const node of ["agent1", "agent2", "stray", "guest"] as const) {
      const gateway = node === "guest" ? lab.addresses.guestLan : lab.addresses.lan;
      expect((await lab.exec(node, ["ping", "-c1", "-W1", gateway.v4])).exitCode).toBe(0);
      expect((await lab.exec(node, ["ping", "-c1", "-W1", gateway.v6])).exitCode).toBe(0);
    }
    expect((await lab.exec("mgmt", ["ping", "-c1", "-W1", lab.addresses.management.v4])).exitCode).toBe(0);
    expect((await lab.exec("gateway", ["ping", "-c1", "-W1", "203.0.113.200"])).exitCode).toBe(0);
  });
});
