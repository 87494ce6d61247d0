import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import type { LabStream } from "../lab/client.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";
import { signByHand } from "../support/sign-by-hand.ts";

/** What each extension of the policy means to real traffic; denials are proved on the far side, beside an allowed control. */

let lab: Lab;
let gateway: TestGateway;

const agent2 = { sources: ["10.80.0.11/32", "fd80::11/128"] };

beforeAll(async () => {
  lab = await startLab();
  // Private machines beyond the gateway, where `private.allowed.test` leads.
  for (const address of ["192.168.1.1", "172.16.0.1", "fd12:3456::1"]) {
    const family = address.includes(":") ? "-6" : "-4";
    await lab.execChecked("internet", ["ip", family, "route", "add", "local", address, "dev", "lo"]);
  }
  gateway = await setUpGateway(lab, { policy: { version: 1, mode: "deny-all" } });
});

beforeEach(async () => await lab.mark());

afterAll(async () => {
  await lab?.stop();
});

/** Puts a policy in force. */
async function enforce(policy: { readonly [key: string]: unknown }): Promise<string> {
  const commit = await gateway.commit({ version: 1, ...policy });
  expect(await gateway.sync()).toMatchObject({ ok: true, outcome: "confirmed" });
  return commit;
}

/** Commits a policy that our own `sign` would not let anybody approve. */
async function commitByHand(policy: object, paths: readonly string[]): Promise<string> {
  const { alice = "", bob = "" } = gateway.keys;
  return await gateway.commit(
    { ...policy },
    { signers: [], tamper: (clone) => signByHand(clone, paths, { alice, bob }) },
  );
}

async function records(): Promise<readonly { readonly [key: string]: unknown }[]> {
  const text = await readFile(join(gateway.folder, "run", "gate", "deny.jsonl"), "utf8");
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { readonly [key: string]: unknown });
}

const explain = async (from: string, to: string): Promise<{ readonly [key: string]: unknown }> => {
  const result = await gateway.clawgress(["explain", from, to, "--json", "--config", gateway.configFile]);
  return JSON.parse(result.stdout) as { readonly [key: string]: unknown };
};

const families = [
  ["IPv4", 4, "192.168.1.1"],
  ["IPv6", 6, "fd12:3456::1"],
] as const;

describe("entries as objects", () => {
  beforeAll(async () => {
    await enforce({
      allow: {
        domains: [
          "a.allowed.test",
          { domain: "b.allowed.test", ports: [7000], owner: "team-b", reason: "echo tests", ticket: "NET-7" },
          { domain: "private.allowed.test", answers: ["192.168.0.0/16", "172.16.0.0/12", "fd12::/16"] },
          { domain: "meta.allowed.test", answers: ["10.0.0.0/8", "fd00::/8"], owner: "team-m" },
        ],
        ports: [443],
      },
      hosts: { "agent-2": { ...agent2, allow: { domains: ["private.allowed.test"], ports: [443] } } },
    });
  });

  test("an entry's own ports replace those of the list, for it alone", async () => {
    const client = lab.client("agent1");
    expect(await client.connect("b.allowed.test", 7000)).toMatchObject({ outcome: "connected" });
    expect(await client.connect("b.allowed.test", 443)).toMatchObject({ outcome: "refused" });
    expect(await client.connect("a.allowed.test", 443)).toMatchObject({ outcome: "connected" });
    expect(await client.connect("a.allowed.test", 7000)).toMatchObject({ outcome: "refused" });
    expect((await lab.packets({ to: "203.0.113.11", port: 443 })).packets).toBe(0);
    expect((await lab.packets({ to: "203.0.113.10", port: 7000 })).packets).toBe(0);
  });

  test.each(families)("a name with answers leads to its private networks, over %s", async (_, family, address) => {
    const one = lab.client("agent1");
    expect(await one.connect("private.allowed.test", 443, { family })).toMatchObject({ outcome: "connected" });
    expect(await one.connect(address, 443)).toMatchObject({ outcome: "connected" });
    await lab.mark();
    const two = lab.client("agent2");
    expect(await two.connect("private.allowed.test", 443, { family })).toMatchObject({ outcome: "unresolved" });
    expect(await two.connect(address, 443)).toMatchObject({ outcome: "refused" });
    expect((await lab.packets({ to: address })).packets).toBe(0);
  });

  test("metadata services stay closed whatever answers say, and the record names the entry and its owner", async () => {
    for (const type of ["A", "AAAA"]) {
      const answer = await lab.client("agent1").resolve("meta.allowed.test", { type });
      expect(answer).toMatchObject({ rcode: "NXDOMAIN", addresses: [] });
    }
    expect((await records()).at(-1)).toMatchObject({
      reason: "private-answer",
      notes: { owner: "team-m" },
      rule: { file: "policy.json", pointer: "/allow/domains/3" },
    });
  });

  test("explain tells ports, answers and notes; zones and rules carry none of the notes", async () => {
    expect(await explain("10.80.0.10", "b.allowed.test:7000")).toMatchObject({
      verdict: "allow",
      notes: { owner: "team-b", reason: "echo tests", ticket: "NET-7" },
    });
    expect(await explain("10.80.0.10", "private.allowed.test:443")).toMatchObject({
      answers: ["172.16.0.0/12", "192.168.0.0/16", "fd12::/16"],
    });
    const zone = await readFile(join(gateway.folder, "run", "named", "allow.zone"), "utf8");
    expect(zone).toContain("b.allowed.test");
    expect(zone).not.toMatch(/team-b|echo tests|NET-7/);
    const rules = await lab.execChecked("gateway", ["nft", "list", "table", "inet", "clawgress"]);
    expect(rules).not.toMatch(/team-b|echo tests|NET-7/);
  });
});

describe("groups, inherit and subdomains", () => {
  beforeAll(async () => {
    await enforce({
      groups: { echo: { domains: ["b.allowed.test"], ips: ["203.0.113.60/31"], ports: [7000] } },
      allow: { domains: ["a.allowed.test"], ports: [443] },
      hosts: {
        "agent-2": {
          ...agent2,
          allow: { inherit: true, groups: ["echo"], domains: ["wild.test"], subdomains: true, ports: [80] },
        },
      },
    });
  });

  test("a host has its own entries, its groups and the global lists, each on its own ports", async () => {
    const two = lab.client("agent2");
    for (const [host, port] of [
      ["a.allowed.test", 443],
      ["b.allowed.test", 7000],
      ["203.0.113.60", 7000],
      ["wild.test", 80],
      ["deep.x.wild.test", 80],
    ] as const) {
      expect(await two.connect(host, port), host).toMatchObject({ outcome: "connected" });
    }
    await lab.mark();
    for (const [host, port, address] of [
      ["a.allowed.test", 80, "203.0.113.10"],
      ["b.allowed.test", 443, "203.0.113.11"],
      ["203.0.113.60", 443, "203.0.113.60"],
      ["wild.test", 7000, "203.0.113.42"],
    ] as const) {
      expect(await two.connect(host, port), host).toMatchObject({ outcome: "refused" });
      expect((await lab.packets({ to: address })).packets, host).toBe(0);
    }
  });

  test("others have neither the group nor the host's names", async () => {
    const one = lab.client("agent1");
    expect(await one.connect("a.allowed.test", 443)).toMatchObject({ outcome: "connected" });
    await lab.mark();
    expect(await one.connect("b.allowed.test", 7000)).toMatchObject({ outcome: "unresolved" });
    expect(await one.connect("wild.test", 80)).toMatchObject({ outcome: "unresolved" });
    expect(await one.connect("203.0.113.60", 7000)).toMatchObject({ outcome: "refused" });
    for (const to of ["203.0.113.11", "203.0.113.42", "203.0.113.60"]) {
      expect((await lab.packets({ to })).packets).toBe(0);
    }
    expect(await lab.queries({ name: "*.wild.test" })).toEqual([]);
  });
});

describe("deny", () => {
  const allow = {
    domains: ["*.allowed.test", "*.wild.test", "www.chain.test"],
    ips: ["203.0.113.60/30", "2001:db8:1::60/124"],
    ports: [80, 443, 7000],
  };
  const deny = {
    domains: [{ domain: "b.allowed.test", owner: "soc", reason: "phishing", ticket: "SEC-1" }, "*.x.wild.test"],
    ips: ["203.0.113.62", "2001:db8:1::62", "203.0.113.13", "2001:db8:1::d"],
  };
  const own = { domains: ["a.allowed.test"], ips: ["203.0.113.61", "2001:db8:1::61"] };
  const address = (n: number, family: 4 | 6): string =>
    family === 4 ? `203.0.113.${n}` : `2001:db8:1::${n > 59 ? n : n.toString(16)}`;

  beforeAll(async () => {
    await enforce({ allow, deny, hosts: { "agent-2": { ...agent2, deny: own } } });
  });

  test.each([4, 6] as const)(
    "a denied name under an allowed wildcard is asked of nobody, over IPv%i",
    async (family) => {
      const one = lab.client("agent1");
      for (const name of ["b.allowed.test", "B.Allowed.TEST", "q.x.wild.test", "p.q.x.wild.test"]) {
        expect(await one.connect(name, 443, { family }), name).toMatchObject({
          outcome: "unresolved",
          rcode: "NXDOMAIN",
        });
      }
      expect(await one.connect("x.wild.test", 443, { family })).toMatchObject({ outcome: "connected" });
      expect(await one.connect("a.allowed.test", 443, { family })).toMatchObject({ outcome: "connected" });
      expect(await lab.queries({ name: "b.allowed.test" })).toEqual([]);
      expect(await lab.queries({ name: "*.x.wild.test" })).toEqual([]);
      expect((await lab.packets({ to: address(11, family) })).packets).toBe(0);
      expect((await records()).at(-1)).toMatchObject({ reason: "denied-explicit", name: "p.q.x.wild.test" });
    },
  );

  test("named denies it too, if the gate were not there", async () => {
    const ask = async (name: string): Promise<string> =>
      (await lab.exec("gateway", ["dig", "@127.0.0.1", "-p", "5453", "+noall", "+comments", name])).stdout;
    expect(await ask("a.allowed.test")).toContain("status: NOERROR");
    await lab.mark();
    expect(await ask("b.allowed.test")).toContain("status: NXDOMAIN");
    expect(await ask("p.q.x.wild.test")).toContain("status: NXDOMAIN");
    expect(await lab.queries({ name: "b.allowed.test" })).toEqual([]);
  });

  test("an alias of a denied name is denied, whatever allows it", async () => {
    const one = lab.client("agent1");
    expect(await one.connect("alias.allowed.test", 443)).toMatchObject({ outcome: "unresolved", rcode: "NXDOMAIN" });
    expect(await one.connect("www.chain.test", 443)).toMatchObject({ outcome: "connected" });
    expect((await lab.packets({ to: "203.0.113.11" })).packets).toBe(0);
  });

  test.each([4, 6] as const)("a denied network is closed inside an allowed one, over IPv%i", async (family) => {
    const one = lab.client("agent1");
    expect(await one.connect(address(61, family), 443)).toMatchObject({ outcome: "connected" });
    expect(await one.connect(address(62, family), 443)).toMatchObject({ outcome: "refused" });
    expect(await one.connect(address(63, family), 443)).toMatchObject({ outcome: "connected" });
    expect((await lab.packets({ to: address(62, family) })).packets).toBe(0);
  });

  test.each([4, 6] as const)("an allowed name may not lead into a denied network, over IPv%i", async (family) => {
    const one = lab.client("agent1");
    expect(await one.connect("api.allowed.test", 443, { family })).toMatchObject({ outcome: "unresolved" });
    expect(await one.connect(address(13, family), 443)).toMatchObject({ outcome: "refused" });
    expect((await lab.packets({ to: address(13, family) })).packets).toBe(0);
    expect((await records()).at(-1)).toMatchObject({
      reason: "denied-explicit",
      rule: { pointer: expect.stringMatching(/^\/deny\/ips\//) },
    });
  });

  test.each([4, 6] as const)(
    "a host's own deny closes for it alone, beside the global one, over IPv%i",
    async (family) => {
      const two = lab.client("agent2");
      expect(await two.connect("www.allowed.test", 443, { family })).toMatchObject({ outcome: "connected" });
      expect(await two.connect(address(60, family), 443)).toMatchObject({ outcome: "connected" });
      await lab.mark();
      for (const name of ["a.allowed.test", "b.allowed.test"]) {
        expect(await two.connect(name, 443, { family })).toMatchObject({ outcome: "unresolved" });
      }
      for (const n of [61, 62]) {
        expect(await two.connect(address(n, family), 443)).toMatchObject({ outcome: "refused" });
        expect((await lab.packets({ to: address(n, family) })).packets).toBe(0);
      }
    },
  );

  test("explain names the entry that denies, and its notes", async () => {
    expect(await explain("10.80.0.10", "b.allowed.test:443")).toMatchObject({
      verdict: "deny",
      reason: "denied-explicit",
      nearMiss: "deny lists b.allowed.test",
      notes: { owner: "soc", reason: "phishing", ticket: "SEC-1" },
    });
  });

  test("a new denial ends what is open, by name and by network, and nothing else", async () => {
    const one = lab.client("agent1");
    const open = async (host: string): Promise<LabStream> => {
      const result = await one.stream(host, 80);
      if (result.outcome !== "connected") throw new Error(`${host}: ${JSON.stringify(result)}`);
      return result.stream;
    };
    const [named, byName, kept] = [
      await open("www.allowed.test"),
      await open("v4only.allowed.test"),
      await open("a.allowed.test"),
    ];
    await enforce({ allow, deny: { domains: [...deny.domains, "v4only.allowed.test"], ips: ["203.0.113.12"] } });
    const isAlive = async (stream: LabStream): Promise<boolean> => {
      const { state, silentMs } = await stream.state();
      return state === "open" && silentMs < 1000;
    };
    await sleepMs(1500);
    expect(await isAlive(kept)).toBe(true);
    expect(await isAlive(byName)).toBe(false);
    expect(await isAlive(named)).toBe(false);
    await kept.close();
  });
});

describe("tests", () => {
  const allow = { domains: ["a.allowed.test", "*.wild.test"], ports: [443] };
  const asked = (expected: string) => [
    { from: "*", to: "a.allowed.test:443", expect: "allow" },
    { from: "agent-2", to: "x.wild.test:443", expect: expected },
  ];

  test("a policy whose tests fail is refused with the line, before anything is applied; check says the same", async () => {
    await enforce({ allow, hosts: { "agent-2": agent2 }, tests: asked("allow") });
    const policy = {
      version: 1,
      allow: { ...allow, ports: [80] },
      hosts: { "agent-2": agent2 },
      tests: asked("allow"),
    };
    const text = `${JSON.stringify(policy, null, 2)}\n`;
    const line = text.split("\n").findIndex((found) => found.includes('"tests"')) + 2;
    await expect(gateway.commit(policy)).rejects.toThrow("POLICY_TEST_FAILED");

    // Somebody signs with a program that does not ask the tests: the gateway does.
    const commit = await commitByHand(policy, ["policy.json"]);
    const outcome = await gateway.sync();
    expect(outcome).toMatchObject({ ok: false, outcome: "refused", commit, code: "POLICY_TEST_FAILED" });
    expect(outcome.message).toContain(`policy.json:${line}:`);
    expect(outcome.message).toContain("and the test expects allow");
    expect(await lab.client("agent1").connect("a.allowed.test", 443)).toMatchObject({ outcome: "connected" });
    expect(await lab.client("agent1").connect("a.allowed.test", 80)).toMatchObject({ outcome: "refused" });
    expect((await lab.packets({ to: "203.0.113.10", port: 80 })).packets).toBe(0);
    const checked = await gateway.clawgress(["check", gateway.clone, "--json"]);
    expect(checked.exitCode).toBe(32);
    expect(checked.stdout).toContain("POLICY_TEST_FAILED");
  });
});

describe("include", () => {
  const write = async (path: string, content: object): Promise<void> => {
    await mkdir(dirname(join(gateway.clone, path)), { recursive: true });
    await writeFile(join(gateway.clone, path), `${JSON.stringify(content, null, 2)}\n`);
  };
  const policy = { version: 1, include: ["lists/web.json"], allow: { domains: ["a.allowed.test"], ports: [443] } };

  test("files of the same commit are enforced, listed in the lock, and named by their lines", async () => {
    await write("lists/web.json", {
      version: 1,
      include: ["lists/deep/echo.json"],
      allow: { domains: ["*.wild.test"], ports: [80] },
      deny: { domains: ["evil.wild.test"] },
    });
    await write("lists/deep/echo.json", { version: 1, allow: { domains: ["b.allowed.test"], ports: [7000] } });
    await enforce(policy);
    const lock = await readFile(join(gateway.clone, "clawgress.lock.json"), "utf8");
    expect(Object.keys((JSON.parse(lock) as { files: object }).files)).toEqual([
      "lists/deep/echo.json",
      "lists/web.json",
      "policy.json",
    ]);
    const one = lab.client("agent1");
    expect(await one.connect("a.allowed.test", 443)).toMatchObject({ outcome: "connected" });
    expect(await one.connect("x.wild.test", 80)).toMatchObject({ outcome: "connected" });
    expect(await one.connect("b.allowed.test", 7000)).toMatchObject({ outcome: "connected" });
    await lab.mark();
    expect(await one.connect("evil.wild.test", 80)).toMatchObject({ outcome: "unresolved" });
    expect(await one.connect("x.wild.test", 443)).toMatchObject({ outcome: "refused" });
    expect(await lab.queries({ name: "evil.wild.test" })).toEqual([]);
    expect(await explain("10.80.0.10", "b.allowed.test:7000")).toMatchObject({
      place: { file: "lists/deep/echo.json", pointer: "/allow/domains/0" },
    });
    for (const argv of [
      ["check", gateway.clone, "--json"],
      ["explain", "*", "b.allowed.test:7000", "--policy", join(gateway.clone, "policy.json"), "--json"],
      ["compile", join(gateway.clone, "policy.json"), "--out", join(gateway.folder, "out"), "--json"],
    ]) {
      expect(await gateway.clawgress(argv), argv[0]).toMatchObject({ exitCode: 0 });
    }
  });

  test("a mistake in an included file is refused with its file and line, by sign, check and the gateway", async () => {
    await write("lists/deep/echo.json", { version: 1, allow: { domains: ["*"], ports: [7000] } });
    await expect(gateway.commit(policy)).rejects.toThrow("lists/deep/echo.json:5:7");
    const commit = await commitByHand(policy, ["policy.json", "lists/web.json", "lists/deep/echo.json"]);
    const outcome = await gateway.sync();
    expect(outcome).toMatchObject({ outcome: "refused", commit, code: "POLICY_INVALID" });
    expect(outcome.message).toContain('lists/deep/echo.json:5:7: error: "*" would allow every name');
    expect((await gateway.clawgress(["check", gateway.clone])).stdout).toContain("lists/deep/echo.json:5:7");
  });

  test("a file that nobody approved is not read, though it is in the commit", async () => {
    await write("lists/deep/echo.json", { version: 1, allow: { domains: ["www.allowed.test"], ports: [7000] } });
    const commit = await commitByHand(policy, ["policy.json", "lists/web.json"]);
    const outcome = await gateway.sync();
    expect(outcome).toMatchObject({ outcome: "refused", commit, code: "POLICY_INVALID" });
    expect(outcome.message).toContain('lists/web.json:4:5: error: there is no file "lists/deep/echo.json"');
    expect(await lab.client("agent1").connect("www.allowed.test", 7000)).toMatchObject({ outcome: "unresolved" });
    expect(await lab.queries({ name: "www.allowed.test" })).toEqual([]);
  });
});

describe("audit", () => {
  const policy = {
    allow: {
      domains: ["a.allowed.test", "private.allowed.test", "meta.allowed.test"],
      ips: ["192.168.7.0/24", "172.16.0.0/12"],
      ports: [443],
    },
    deny: { domains: ["b.allowed.test"], ips: ["203.0.113.12", "2001:db8:1::c", "172.16.0.0/12"] },
    hosts: { "agent-2": { ...agent2, mode: "enforce" } },
  };
  const address = (n: number, family: 4 | 6): string =>
    family === 4 ? `203.0.113.${n}` : `2001:db8:1::${n.toString(16)}`;

  beforeAll(async () => {
    await enforce({ ...policy, mode: "audit" });
  });

  test.each([4, 6] as const)(
    "names that would be denied are answered and reached on any port, over IPv%i",
    async (family) => {
      const one = lab.client("agent1");
      for (const name of ["www.denied.test", "b.allowed.test", "x.wild.test", "www.allowed.test"]) {
        expect(await one.connect(name, 443, { family }), name).toMatchObject({ outcome: "connected" });
        expect(await one.connect(name, 7000, { family }), name).toMatchObject({ outcome: "connected" });
      }
      expect(await one.connect("a.allowed.test", 7000, { family })).toMatchObject({ outcome: "connected" });
      const told = (await records()).filter(({ verdict }) => verdict === "would-deny");
      expect(told).toContainEqual(expect.objectContaining({ reason: "dns-not-allowed", name: "www.denied.test" }));
      expect(told).toContainEqual(expect.objectContaining({ reason: "denied-explicit", name: "b.allowed.test" }));
    },
  );

  test.each([4, 6] as const)("addresses that nobody asked for are reached too, over IPv%i", async (family) => {
    const one = lab.client("agent1");
    for (const n of [61, 12])
      expect(await one.connect(address(n, family), 443)).toMatchObject({ outcome: "connected" });
    expect(await one.udp(address(11, family), 7001)).toMatchObject({ outcome: "answered" });
    const passed = { plane: "ip", verdict: "would-deny", reason: "ip-not-allowed", destination: address(61, family) };
    await vi.waitFor(async () => expect(await records()).toContainEqual(expect.objectContaining(passed)), 10_000);
    if (family === 4) expect((await lab.exec("agent1", ["ping", "-c1", "-W1", address(11, 4)])).exitCode).toBe(0);
  });

  test.each(["192.168.1.1", "172.16.0.1", "fd12:3456::1"])("%s stays closed", async (closed) => {
    const one = lab.client("agent1");
    expect(await one.connect("private.allowed.test", 443)).toMatchObject({ outcome: "unresolved" });
    expect(await one.connect(closed, 443)).toMatchObject({ outcome: "refused" });
    expect((await lab.packets({ to: closed })).packets).toBe(0);
    const refusal = { reason: "private-answer", verdict: "deny", action: "nxdomain" };
    expect(await records()).toContainEqual(expect.objectContaining(refusal));
  });

  test("metadata and the lifeline's side stay closed", async () => {
    const one = lab.client("agent1");
    expect(await one.connect("meta.allowed.test", 80)).toMatchObject({ outcome: "unresolved" });
    for (const closed of ["169.254.169.254", lab.addresses.admin.v4, lab.addresses.guest.v4]) {
      expect((await one.connect(closed, 80)).outcome).not.toBe("connected");
    }
    expect((await lab.packets({ to: "169.254.169.254" })).packets).toBe(0);
  });

  test("a host that is enforced has nothing of it", async () => {
    const two = lab.client("agent2");
    expect(await two.connect("a.allowed.test", 443)).toMatchObject({ outcome: "connected" });
    await lab.mark();
    for (const name of ["www.denied.test", "b.allowed.test"]) {
      expect(await two.connect(name, 443)).toMatchObject({ outcome: "unresolved" });
    }
    expect(await two.connect("203.0.113.61", 443)).toMatchObject({ outcome: "refused" });
    expect(await two.connect("a.allowed.test", 7000)).toMatchObject({ outcome: "refused" });
    expect((await lab.packets({ to: "203.0.113.61" })).packets).toBe(0);
    expect(await lab.queries({ name: "www.denied.test" })).toEqual([]);
  });

  test("status, explain and the commit's status say it loudly", async () => {
    const status = await gateway.clawgress(["status", "--config", gateway.configFile]);
    expect(status.stdout).toMatch(/^mode +AUDIT: NOTHING IS DENIED to clients without own rules/m);
    expect(await explain("10.80.0.10", "www.denied.test:443")).toMatchObject({
      verdict: "allow",
      mode: "audit",
      wouldDeny: "dns-not-allowed",
    });
    const lines = await gateway.clawgress([
      "explain",
      "10.80.0.10",
      "www.denied.test:443",
      "--config",
      gateway.configFile,
    ]);
    expect(lines.stdout).toContain("ALLOW, ONLY BECAUSE OF AUDIT");
    const head = (await lab.statuses.posted()).filter(({ state }) => state === "success").at(-1);
    expect(head?.description).toContain("AUDIT MODE");
  });

  test("when it ends, what only it let pass ends, and nothing else", async () => {
    const one = lab.client("agent1");
    const open = async (host: string, port: number): Promise<LabStream> => {
      const result = await one.stream(host, port);
      if (result.outcome !== "connected") throw new Error(`${host}: ${JSON.stringify(result)}`);
      return result.stream;
    };
    const ended = [await open("x.wild.test", 80), await open("203.0.113.61", 80), await open("www.allowed.test", 80)];
    const kept = await open("a.allowed.test", 80);
    await enforce({ ...policy, allow: { ...policy.allow, ports: [80, 443] } });
    await sleepMs(1500);
    const isAlive = async (stream: LabStream): Promise<boolean> => {
      const { state, silentMs } = await stream.state();
      return state === "open" && silentMs < 1000;
    };
    expect(await Promise.all(ended.map(isAlive))).toEqual([false, false, false]);
    const state = await kept.state();
    expect(state.state === "open" && state.silentMs < 1000, JSON.stringify(state)).toBe(true);
    await kept.close();
    await lab.mark();
    expect(await one.connect("x.wild.test", 443)).toMatchObject({ outcome: "unresolved" });
    expect(await one.connect("203.0.113.61", 443)).toMatchObject({ outcome: "refused" });
    expect((await lab.packets({ to: "203.0.113.61" })).packets).toBe(0);
    expect(await lab.queries({ name: "*.wild.test" })).toEqual([]);
  });
});

describe("names of addresses", () => {
  const reverse = (address: string): string => `${address.split(".").reverse().join(".")}.in-addr.arpa`;

  test("are asked for addresses that the client was given or may reach, and for no others", async () => {
    await enforce({
      allow: { domains: ["v4only.allowed.test"], ips: ["203.0.113.60/31"], ports: [443] },
      hosts: { "agent-2": { ...agent2, allow: { domains: ["b.allowed.test"], ports: [443] } } },
    });
    const [one, two] = [lab.client("agent1"), lab.client("agent2")];
    const given = lab.names["v4only.allowed.test"].v4[0];
    await lab.mark();
    for (const client of [one, two])
      expect(await client.resolve(reverse(given), { type: "PTR" })).toMatchObject({ rcode: "NXDOMAIN" });
    expect(await lab.queries({ name: reverse(given) })).toEqual([]);

    expect(await one.connect("v4only.allowed.test", 443)).toMatchObject({ outcome: "connected" });
    await one.resolve(reverse(given), { type: "PTR" });
    await one.resolve(reverse("203.0.113.61"), { type: "PTR" });
    expect((await lab.queries({ name: reverse(given) })).length).toBeGreaterThan(0);
    expect((await lab.queries({ name: reverse("203.0.113.61") })).length).toBeGreaterThan(0);

    await lab.mark();
    for (const name of [reverse("203.0.113.62"), `secret.${reverse(given)}`, "113.0.203.in-addr.arpa"]) {
      expect(await one.resolve(name, { type: "PTR" }), name).toMatchObject({ rcode: "NXDOMAIN" });
    }
    expect(await two.resolve(reverse(given), { type: "PTR" })).toMatchObject({ rcode: "NXDOMAIN" });
    expect(await lab.queries({ name: "*.in-addr.arpa" })).toEqual([]);
  });
});

describe("dns.forward", () => {
  const asked = async (): Promise<readonly string[]> =>
    (await readFile(join(lab.folder, "inner.log"), "utf8")).split("\n");
  const askAsNamed = async (server: string): Promise<string> => {
    const uid = (await lab.execChecked("gateway", ["id", "-u", "bind"])).trim();
    const dig = ["dig", "+tries=1", "+time=2", `@${server}`, "host.corp.test"];
    return (await lab.exec("gateway", ["setpriv", `--reuid=${uid}`, "--clear-groups", ...dig])).stdout;
  };

  beforeAll(async () => {
    const program = fileURLToPath(new URL("../support/inner-resolver.mjs", import.meta.url));
    lab.spawn("mgmt", [process.execPath, program, lab.addresses.admin.v4, "192.168.1.1"], {
      logFile: join(lab.folder, "inner.log"),
    });
    await enforce({
      allow: { domains: ["*.corp.test", "host.other.test", "a.allowed.test"], ports: [443] },
      deny: { domains: ["evil.corp.test"] },
      dns: {
        forward: {
          "corp.test": { resolvers: [lab.addresses.admin.v4], answers: ["192.168.0.0/16"] },
          "other.test": [lab.addresses.admin.v4],
        },
      },
    });
  });

  test("a name of an inner zone is asked of its resolver alone, and leads where the zone may", async () => {
    const one = lab.client("agent1");
    expect(await one.connect("host.corp.test", 443)).toMatchObject({ outcome: "connected", address: "192.168.1.1" });
    expect(await asked()).toContain("host.corp.test");
    expect(await lab.queries({ name: "host.corp.test" })).toEqual([]);
    expect(await one.connect("a.allowed.test", 443)).toMatchObject({ outcome: "connected" });
    expect(await asked()).not.toContain("a.allowed.test");
    expect(await explain("10.80.0.10", "host.corp.test:443")).toMatchObject({
      verdict: "allow",
      resolvers: [lab.addresses.admin.v4],
      answers: ["192.168.0.0/16"],
    });
  });

  test("a zone without answers leads to no private address, and opens no name", async () => {
    const one = lab.client("agent1");
    expect(await one.connect("host.other.test", 443)).toMatchObject({ outcome: "unresolved" });
    expect(await asked()).toContain("host.other.test");
    for (const name of ["evil.corp.test", "corp.test", "more.other.test"]) {
      expect(await one.connect(name, 443), name).toMatchObject({ outcome: "unresolved" });
      expect(await asked(), name).not.toContain(name);
    }
  });

  test("named reaches exactly those resolvers, and none once they are gone from the policy", async () => {
    expect(await askAsNamed(lab.addresses.admin.v4)).toContain("192.168.1.1");
    expect(await askAsNamed("203.0.113.60")).toContain("unreachable");
    expect((await lab.packets({ to: "203.0.113.60" })).packets).toBe(0);
    await enforce({ allow: { domains: ["*.corp.test"], ports: [443] } });
    expect(await askAsNamed(lab.addresses.admin.v4)).toContain("unreachable");
    expect(await lab.client("agent1").connect("host.corp.test", 443)).toMatchObject({ outcome: "unresolved" });
    expect(await lab.client("agent1").connect("192.168.1.1", 443)).toMatchObject({ outcome: "refused" });
  });
});
