import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** The policy that the project began with, as it stands in examples/seed: names alone open what they say, per host too. */

const policy = readFileSync(join(import.meta.dirname, "..", "..", "examples", "seed", "policy.json"), "utf8");
const AGENT_1 = "192.168.10.10";

let lab: Lab;
let gateway: TestGateway;

beforeAll(async () => {
  lab = await startLab();
  await lab.execChecked("agent1", ["ip", "address", "add", `${AGENT_1}/32`, "dev", "lo"]);
  await lab.execChecked("gateway", ["ip", "route", "add", AGENT_1, "via", lab.addresses.agent1.v4]);
  gateway = await setUpGateway(lab, { policy });
  const first = await gateway.sync();
  expect(first, first.message).toMatchObject({ ok: true, outcome: "confirmed" });
});

afterAll(async () => {
  await lab?.stop();
});

describe.each([4, 6] as const)("a client in no host entry, over IPv%i", (family) => {
  test("reaches both model providers and nothing beside them", async () => {
    const client = lab.client("agent2");
    await lab.mark();
    for (const name of ["api.openai.com", "api.anthropic.com"]) {
      expect(await client.get(name, 443, { family }), name).toMatchObject({ outcome: "connected", status: 200 });
      expect(await client.connect(name, 80, { family }), name).toMatchObject({ outcome: "connected" });
    }
    for (const name of ["www.openai.com", "openai.com", "api.openai.com.denied.test"]) {
      expect(await client.connect(name, 443, { family }), name).toMatchObject({
        outcome: "unresolved",
        rcode: "NXDOMAIN",
      });
      expect(await lab.queries({ name })).toHaveLength(0);
    }
  });
});

test.each([4, 6] as const)(
  "a name for TLS opens no address, and no other name at its address, over IPv%i",
  async (family) => {
    const client = lab.client("agent2");
    const [openai = ""] = lab.names["api.openai.com"][`v${family}`];
    await lab.mark();
    for (const servername of ["www.openai.com", ""]) {
      expect(await client.tls(openai, 443, { servername }), servername).toMatchObject({ outcome: "reset" });
    }
    expect((await lab.packets({ to: openai, port: 443 })).packets).toBe(0);
  },
);

test("agent-1 reaches its one name on its one port", async () => {
  const client = lab.client("agent1");
  const source = AGENT_1;
  const allowed = await client.resolve("api.openai.com", { source });
  expect(allowed).toMatchObject({ outcome: "answer", rcode: "NOERROR" });
  expect(await client.resolve("api.anthropic.com", { source })).toMatchObject({ outcome: "answer", rcode: "NXDOMAIN" });
  const [openai = ""] = lab.names["api.openai.com"].v4;
  const [anthropic = ""] = lab.names["api.anthropic.com"].v4;
  await lab.mark();
  const byName = (servername: string) => client.tls(openai, 443, { servername, source });
  expect(await byName("api.openai.com")).toMatchObject({ outcome: "connected" });
  expect(await byName("api.anthropic.com")).toMatchObject({ outcome: "reset" });
  expect(await client.get(openai, 80, { name: "api.openai.com", source })).toMatchObject({
    status: 403,
    body: expect.stringContaining("host-not-allowed"),
  });
  expect(await client.connect(openai, 8080, { source })).toMatchObject({ outcome: "refused" });
  expect((await lab.packets({ to: openai, port: 443 })).packets).toBeGreaterThan(0);
  expect((await lab.packets({ to: openai, port: 80 })).packets).toBe(0);
  expect((await lab.packets({ to: anthropic })).packets).toBe(0);
});
