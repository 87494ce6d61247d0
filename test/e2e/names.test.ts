import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** DNS through the whole gateway: fresh names at full speed, and denied names in every disguise. */

let lab: Lab;
let gateway: TestGateway;

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, {
    policy: { version: 1, allow: { domains: ["*.fresh.test", "a.allowed.test", "www.signed.test"], ports: [80, 443] } },
  });
  expect(await gateway.sync()).toMatchObject({ ok: true });
});

afterAll(async () => {
  await lab?.stop();
});

test("1,000 fresh names, each connected to at once: no first SYN is lost", { timeout: 300_000 }, async () => {
  const client = lab.client("agent1");
  const outcomes = new Map<string, number>();
  for (let n = 0; n < 1000; n++) {
    const family = n % 2 === 0 ? 4 : 6;
    const result = await client.connect(`n${n}.fresh.test`, 443, { family, timeoutMs: 900 });
    outcomes.set(result.outcome, (outcomes.get(result.outcome) ?? 0) + 1);
  }
  expect(Object.fromEntries(outcomes)).toEqual({ connected: 1000 });
});

const types = [
  ...["A", "AAAA", "TXT", "MX", "NS", "SOA", "CNAME", "SRV", "PTR"],
  ...["NULL", "HTTPS", "SVCB", "DS", "DNSKEY", "NAPTR"],
];
const disguises = [
  ["plainly", {}],
  ["with DO", { dnssecOk: true, edns: true }],
  ["with CD", { checkingDisabled: true }],
  ["with DO and CD", { dnssecOk: true, checkingDisabled: true, edns: true }],
  ["with RD=0", { recursionDesired: false }],
] as const;

describe.each(["udp", "tcp"] as const)("denied names in 15 types over %s", (transport) => {
  test.each(disguises)("%s leave nothing upstream", async (_, flags) => {
    const client = lab.client("agent1");
    await lab.mark();
    const control = await client.resolve("www.signed.test", { transport, dnssecOk: true, edns: true });
    expect(control).toMatchObject({ outcome: "answer", rcode: "NOERROR" });
    for (const type of types) {
      for (const zone of ["denied.test", "signed-denied.test"]) {
        const answer = await client.resolve(`secret-${type}.${zone}`, { type, transport, ...flags });
        expect(answer, `${type} ${zone}`).toMatchObject({ outcome: "answer", rcode: "NXDOMAIN", addresses: [] });
      }
    }
    expect(await lab.queries({ name: "*.denied.test" })).toHaveLength(0);
    expect(await lab.queries({ name: "*.signed-denied.test" })).toHaveLength(0);
  });
});

test("a resolver of the client's own choice is answered by the gate all the same", async () => {
  const client = lab.client("agent1");
  await lab.mark();
  const foreign = { server: lab.addresses.dns.v4 };
  expect(await client.resolve("a.allowed.test", foreign)).toMatchObject({ outcome: "answer", rcode: "NOERROR" });
  expect(await client.resolve("www.denied.test", foreign)).toMatchObject({ outcome: "answer", rcode: "NXDOMAIN" });
  expect(await lab.queries({ name: "*.denied.test" })).toHaveLength(0);
});
