import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { listProcesses } from "../../agent/host/process-table.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** No policy reaches the gateway's own traffic or the lifeline, and nothing that the gateway says or shows holds a secret. */

const API_PORT = 8420;
let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;

beforeAll(async () => {
  lab = await startLab();
  const api = { user: "64055", port: API_PORT };
  gateway = await setUpGateway(lab, { policy: policyOf("a.allowed.test"), config: { api } });
  agent = lab.spawn(
    "gateway",
    [process.execPath, join(gateway.program, "clawgress.mjs"), "run", "--config", gateway.configFile],
    { logFile: join(gateway.folder, "agent.log"), env: { CLAWGRESS_LOG: "trace" } },
  );
  await gateway.awaitStatus(await gateway.head(), ["success"]);
});

afterAll(async () => {
  await agent?.kill("SIGTERM");
  await lab?.stop();
});

function policyOf(...domains: string[]) {
  return { version: 1, allow: { domains, ports: [80, 443] } };
}

/** Denies all that the gateway itself lives on: its forge, its resolver, management, by name and by address. */
function suicidal(...domains: string[]) {
  const { git, api, dns, management, admin } = lab.addresses;
  const hosts = [git, api, dns, management, admin];
  const ips = [
    ...hosts.map(({ v4 }) => `${v4}/32`),
    ...hosts.map(({ v6 }) => `${v6}/128`),
    "10.99.0.0/24",
    "fd99::/64",
  ];
  return {
    version: 1,
    allow: { domains: [...domains, "*.lab.test"], ips: [`${git.v4}/32`], ports: [53, 80, 443] },
    deny: { domains: ["git.lab.test", "*.lab.test", "lab.test"], ips },
  };
}

test("GE14: a policy that denies the forge, the resolvers and management cuts off clients alone", async () => {
  const commit = await gateway.commit(suicidal("a.allowed.test"));
  expect(await gateway.awaitStatus(commit, ["success", "failure", "error"])).toMatchObject({ state: "success" });
  const client = lab.client("agent1");
  for (const address of [lab.addresses.git.v4, lab.addresses.git.v6, lab.addresses.api.v4]) {
    expect((await client.connect(address, 443)).outcome, address).toBe("refused");
  }
  expect((await client.connect("git.lab.test", 443)).outcome).toBe("unresolved");
  for (const to of [lab.addresses.management, lab.addresses.agent1]) {
    for (const address of [to.v4, to.v6]) {
      expect((await lab.exec("mgmt", ["ping", "-c", "1", "-W", "1", address])).exitCode, address).toBe(0);
    }
  }
  // named still asks its resolver, and the agent its forge: the next commit is fetched, in force and told.
  const next = await gateway.commit(suicidal("a.allowed.test", "fresh.fresh.test"));
  expect(await gateway.awaitStatus(next, ["success", "failure", "error"])).toMatchObject({ state: "success" });
  expect((await client.connect("fresh.fresh.test", 443)).outcome).toBe("connected");
});

test("GE15: a policy that denies the forge's status API is in force, and its status arrives all the same", async () => {
  const denied = {
    ...policyOf("a.allowed.test"),
    deny: { domains: ["api.lab.test"], ips: [`${lab.addresses.api.v4}/32`] },
  };
  const commit = await gateway.commit(denied);
  expect(await gateway.awaitStatus(commit, ["success", "failure", "error"])).toMatchObject({ state: "success" });
  expect((await lab.client("agent1").connect(lab.addresses.api.v4, 443)).outcome).toBe("refused");
});

test("GE15: a status API that is out of reach holds up nothing; what was to be told is told later", async () => {
  const { v4, v6 } = lab.addresses.api;
  await lab.block([v4, v6].map((to) => ({ to, protocol: "tcp", port: 443, how: "drop" })));
  const commit = await gateway.commit(policyOf("a.allowed.test", "b.allowed.test"));
  const reaches = async (): Promise<boolean> =>
    (await lab.client("agent1").connect("b.allowed.test", 443)).outcome === "connected";
  await eventually("it is in force", reaches);
  expect((await lab.statuses.posted()).filter(({ sha }) => sha === commit)).toEqual([]);
  await lab.block([]);
  await eventually("it is told", async () =>
    (await lab.statuses.posted()).some(({ sha, state }) => sha === commit && state === "success"),
  );
});

test("GE31: no token is in an argument, an environment, a log at its loudest, a file, a status or an error", async () => {
  for (const fault of [
    { kind: "status", status: 401 },
    { kind: "redirect" },
    { kind: "html" },
    { kind: "reset" },
  ] as const) {
    const seen = (await gateway.log()).length;
    await lab.git.fault(fault);
    await eventually(`${fault.kind} is told`, async () =>
      (await gateway.log()).slice(seen).some(({ event }) => event === "cycle-failed"),
    );
  }
  await lab.git.fault(null);
  await lab.statuses.fault({ kind: "status", status: 401 }, 1);
  await gateway.awaitStatus(await gateway.commit(policyOf("a.allowed.test", "www.allowed.test")), ["success"]);
  const secrets = [lab.git.token, lab.statuses.token].flatMap((token) => [
    token,
    Buffer.from(token).toString("base64").replace(/=+$/, ""),
    Buffer.from(`x-access-token:${token}`).toString("base64").replace(/=+$/, ""),
  ]);
  const texts = new Map<string, string>([
    ["statuses", JSON.stringify(await lab.statuses.posted())],
    ["status", (await gateway.clawgress(["status", "--json", "--config", gateway.configFile])).stdout],
    ["metrics", (await lab.exec("gateway", ["curl", "-s", `http://127.0.0.1:${API_PORT}/metrics`])).stdout],
  ]);
  for (const { pid } of await listProcesses()) {
    const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (!line.includes(gateway.folder) && !line.includes(gateway.program)) continue;
    texts.set(`arguments of ${line}`, line);
    texts.set(`environment of ${line}`, await readFile(`/proc/${pid}/environ`, "utf8").catch(() => ""));
  }
  for (const entry of await readdir(gateway.folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && !path.endsWith(".token")) texts.set(path, await readFile(path, "latin1"));
  }
  expect(texts.size).toBeGreaterThan(30);
  expect(texts.get("metrics")).toContain("clawgress_");
  expect(texts.get(join(gateway.folder, "agent.log"))).toContain('"level":"debug"');
  const found = [...texts].filter(([, text]) => secrets.some((secret) => text.includes(secret)));
  expect(found.map(([where]) => where)).toEqual([]);
});

test("GE32: nothing but the gate listens on an address that others reach", async () => {
  const { stdout } = await lab.exec("gateway", ["ss", "-Htunl"]);
  const listens = stdout
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/)[4] ?? "");
  expect(listens).toContain(`127.0.0.1:${API_PORT}`);
  const outside = listens.filter((address) => !/^(127\.0\.0\.[0-9]+|\[::1\]):/.test(address));
  expect(new Set(outside.map((address) => address.split(":").at(-1)))).toEqual(new Set(["5353"]));
});
