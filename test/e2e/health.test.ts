import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** Each probe is proved to fail for what it is there for, and a change is blamed only for what it broke. */

const policy = (...domains: string[]) => ({
  version: 1,
  allow: { domains: ["health.allowed.test", ...domains], ports: [80, 443] },
  hosts: { "agent-1": { sources: ["10.80.0.10/32"], allow: { domains: ["api.allowed.test"], ports: [443] } } },
});
const probes = [
  { name: "page as a client", type: "tcp", host: "*", to: "health.allowed.test", port: 443 },
  { name: "api as agent-1", type: "tcp", host: "agent-1", to: "api.allowed.test", port: 443 },
  { name: "api by its name", type: "tls", host: "agent-1", to: "api.allowed.test" },
  { name: "resolvers as the gateway", type: "dns", to: "www.allowed.test" },
  { name: "stays closed", type: "dns", host: "agent-1", to: "health.allowed.test", expect: "deny" },
];

let lab: Lab;
let gateway: TestGateway;

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy: policy("a.allowed.test"), config: { health: { probes } } });
  const first = await gateway.sync();
  expect(first, first.message).toMatchObject({ ok: true, outcome: "confirmed" });
});

afterAll(async () => {
  await lab?.stop();
});

test("WG9: a change that breaks only one host's probe is rolled back by that name", async () => {
  const broken = {
    ...policy("a.allowed.test"),
    hosts: { "agent-1": { sources: ["10.80.0.10/32"], allow: { domains: ["b.allowed.test"] } } },
  };
  await gateway.commit(broken);
  const result = await gateway.sync();
  expect(result).toMatchObject({ ok: false, outcome: "rolled-back", code: "HEALTH_FAILED" });
  expect(result.message).toContain("api as agent-1");
});

test("a list of names for TLS without what a probe asks for is rolled back, though the proxy accepts the connection", async () => {
  const host = { sources: ["10.80.0.10/32"], allow: { domains: ["api.allowed.test"], ports: [443] } };
  const listed = (domain: string) => ({
    ...policy("a.allowed.test"),
    hosts: { "agent-1": { ...host, proxy: { mode: "sni-allowlist", domains: [domain] } } },
  });
  await gateway.commit(listed("b.allowed.test"));
  const result = await gateway.sync();
  expect(result).toMatchObject({ ok: false, outcome: "rolled-back", code: "HEALTH_FAILED" });
  expect(result.message).toContain("api by its name");
  await gateway.commit(listed("api.allowed.test"));
  expect(await gateway.sync()).toMatchObject({ ok: true, outcome: "confirmed" });
});

test("a name that a probe wants closed must stay closed", async () => {
  const hosts = {
    "agent-1": {
      sources: ["10.80.0.10/32"],
      allow: { domains: ["api.allowed.test", "health.allowed.test"], ports: [443] },
    },
  };
  await gateway.commit({ ...policy("a.allowed.test"), hosts });
  const result = await gateway.sync();
  expect(result).toMatchObject({ ok: false, outcome: "rolled-back", code: "HEALTH_FAILED" });
  expect(result.message).toContain("stays closed");
});

test("a policy without the host that a probe speaks as is refused by name", async () => {
  await gateway.commit({ version: 1, allow: { domains: ["health.allowed.test"] } });
  const result = await gateway.sync();
  expect(result).toMatchObject({ ok: false, outcome: "refused", code: "POLICY_INVALID" });
  expect(result.message).toContain("agent-1");
});

test("GE8: a route that is wrong before the change is named, and not blamed on it", async () => {
  const [address = ""] = lab.names["health.allowed.test"].v4;
  await lab.exec("gateway", ["ip", "route", "add", "blackhole", address]);
  await gateway.commit(policy("a.allowed.test", "www.allowed.test"));
  expect(await gateway.sync()).toMatchObject({ ok: true, outcome: "confirmed" });
  const named = (await gateway.log()).filter(({ event }) => event === "probe-failed-before");
  expect(named.map((line) => line["name"])).toContain("page as a client");
  await lab.exec("gateway", ["ip", "route", "del", "blackhole", address]);
});

/** Runs a program on the gateway between the rehearsal and the probes, as if the change had done what it does. */
function onceArmed(...argv: readonly string[]): Promise<unknown> {
  const armed = join(gateway.folder, "state", "txn", "armed");
  const wait = 'n=0; until [ -e "$0" ] || [ $n -ge 4000 ]; do n=$((n + 1)); sleep 0.005; done; exec "$@"';
  return lab.exec("gateway", ["sh", "-c", wait, armed, ...argv], { timeoutMs: 60_000 });
}

/** On a machine with other work the program may come too late: another name each time makes it another change. */
const tries = { retry: 2 };
let attempts = 0;
function anotherPolicy(): ReturnType<typeof policy> {
  attempts += 1;
  return policy("a.allowed.test", `attempt${attempts}.wild.test`);
}

test("GE8: a route that breaks with the change is blamed on it", tries, async () => {
  const [address = ""] = lab.names["health.allowed.test"].v4;
  await gateway.commit(anotherPolicy());
  const [result] = await Promise.all([gateway.sync(), onceArmed("ip", "route", "add", "blackhole", address)]);
  await lab.exec("gateway", ["ip", "route", "del", "blackhole", address]);
  expect(result).toMatchObject({ ok: false, outcome: "rolled-back", code: "HEALTH_FAILED" });
  expect(result.message).toContain("page as a client");
});

test("GE14: rules that cut the gateway off from the Git server are rolled back", tries, async () => {
  const { v4, v6 } = lab.addresses.git;
  const file = join(gateway.folder, "cut.nft");
  const chain = `type filter hook output priority 0; policy accept; ip daddr ${v4} reject; ip6 daddr ${v6} reject;`;
  await writeFile(file, `table inet cut { chain out { ${chain} }\n}\n`);
  await gateway.commit(anotherPolicy());
  const [result] = await Promise.all([gateway.sync(), onceArmed("nft", "-f", file)]);
  await lab.exec("gateway", ["nft", "delete", "table", "inet", "cut"]);
  expect(result).toMatchObject({ ok: false, outcome: "rolled-back", code: "HEALTH_FAILED" });
  expect(result.message).toContain("the Git server is within reach");
});

test("a configuration whose probes can take longer than the confirm timeout is refused", async () => {
  const config = JSON.parse(await readFile(gateway.configFile, "utf8")) as { health: object };
  const slow = join(gateway.folder, "slow.json");
  await writeFile(slow, JSON.stringify({ ...config, health: { ...config.health, confirmTimeoutMs: 3000 } }));
  const result = await gateway.clawgress(["sync", "--json", "--config", slow]);
  expect(result.exitCode).toBe(3);
  expect(JSON.parse(result.stdout)).toMatchObject({ code: "SETTINGS_INVALID" });
});
