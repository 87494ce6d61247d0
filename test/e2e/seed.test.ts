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

test("agent-1 reaches its one name on its one port", async () => {
  const client = lab.client("agent1");
  const asked = { source: AGENT_1 };
  await lab.mark();
  const allowed = await client.resolve("api.openai.com", asked);
  expect(allowed).toMatchObject({ outcome: "answer", rcode: "NOERROR" });
  expect(await client.resolve("api.anthropic.com", asked)).toMatchObject({ outcome: "answer", rcode: "NXDOMAIN" });
  const [openai = ""] = lab.names["api.openai.com"].v4;
  const [anthropic = ""] = lab.names["api.anthropic.com"].v4;
  expect(await client.connect(openai, 443, asked)).toMatchObject({ outcome: "connected" });
  expect(await client.connect(openai, 80, asked)).toMatchObject({ outcome: "refused" });
  expect(await client.connect(anthropic, 443, asked)).toMatchObject({ outcome: "refused" });
  expect((await lab.packets({ to: openai, port: 443 })).packets).toBeGreaterThan(0);
  expect((await lab.packets({ to: openai, port: 80 })).packets).toBe(0);
  expect((await lab.packets({ to: anthropic })).packets).toBe(0);
});
