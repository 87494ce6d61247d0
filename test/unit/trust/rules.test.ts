import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { digestOf, type Lock } from "../../../agent/trust/lock.ts";
import { fitsAny } from "../../../agent/trust/patterns.ts";
import { requireForLocks } from "../../../agent/trust/require-for-locks.ts";
import { type MemoryRepository, makeRepository } from "../../support/memory-repository.ts";
import { makeFolder } from "../../support/ssh-keys.ts";
import { makeRoot, makeSigner, rootJson } from "../../support/trust.ts";
import { makeTrustGateway, type TrustGateway } from "../../support/trust-gateway.ts";

/** Who may approve what: fewer to tighten, teams for their own hosts and files, and nobody for more than that. */

const [alice, bob, carol, dave, erin] = [makeSigner(), makeSigner(), makeSigner(), makeSigner(), makeSigner()];
const people = { alice, bob, carol, dave, erin };
const lines = Object.fromEntries(Object.entries(people).map(([name, { publicLine }]) => [name, [publicLine]]));
const leads = { principals: ["alice", "bob"], threshold: 2 };
const base = { ...rootJson(lines, 2), roles: { policy: leads, root: leads } };
const both = { alice, bob };
const { folder, remove } = makeFolder();
afterAll(remove);

let repository: MemoryRepository;
let gateways = 0;
const makeGateway = async (root: object): Promise<TrustGateway> => {
  gateways += 1;
  const own = join(folder, String(gateways));
  mkdirSync(own);
  return await makeTrustGateway({ folder: own, root: repository.writeRoot(root as { root: number }) });
};
const offer = (gateway: TrustGateway) => gateway.offer(repository.commit());
const allow = (...domains: readonly string[]) => ({ domains, ports: [443] });
const write = (policy: object): void => repository.writePolicy({ version: 1, ...policy });

beforeEach(() => {
  repository = makeRepository();
});

describe("fewer are enough to tighten", () => {
  const root = { ...base, roles: { ...base.roles, policy: { ...leads, tighten: 1 } } };
  const start = async (): Promise<TrustGateway> => {
    const gateway = await makeGateway(root);
    write({ allow: allow("a.test", "b.test") });
    repository.writeLock(1, { signers: both });
    expect(await offer(gateway)).toMatchObject({ code: "approved" });
    return gateway;
  };
  test("one closes, two open", async () => {
    const gateway = await start();
    write({ allow: allow("a.test") });
    repository.writeLock(2, { signers: { bob } });
    expect(await offer(gateway)).toMatchObject({ code: "approved", approvedBy: ["bob"] });
    expect(await offer(gateway)).toMatchObject({ code: "approved", approvedBy: ["bob"] });
    write({ allow: allow("a.test", "c.test") });
    repository.writeLock(3, { signers: { bob } });
    expect(await offer(gateway)).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(/1 of 2 approvals are missing/),
    });
    repository.writeLock(3, { signers: { alice } });
    expect(await offer(gateway)).toMatchObject({ code: "approved" });
  });
  test("by meaning: more text that allows nothing more is not wider", async () => {
    const gateway = await makeGateway(root);
    write({ allow: allow("*.a.test") });
    repository.writeLock(1, { signers: both });
    await offer(gateway);
    write({ allow: allow("*.a.test", "x.a.test") });
    repository.writeLock(2, { signers: { alice } });
    expect(await offer(gateway)).toMatchObject({ code: "approved" });
  });
  test("nobody is not enough", async () => {
    const gateway = await start();
    write({ allow: allow("a.test") });
    repository.writeLock(2, {});
    expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED" });
    repository.writeLock(2, { signers: { carol } });
    expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED" });
  });
  test("the first state of all opens, so it needs two", async () => {
    const gateway = await makeGateway(root);
    write({ mode: "deny-all" });
    repository.writeLock(1, { signers: { alice } });
    expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED", text: expect.stringMatching(/1 of 2/) });
  });
  test("a gateway that missed a state waits for two: what it has not seen may have closed something", async () => {
    const gateway = await start();
    write({ allow: allow("a.test") });
    repository.writeLock(3, { signers: { alice } });
    expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED" });
    repository.writeLock(3, { signers: { bob } });
    expect(await offer(gateway)).toMatchObject({ code: "approved", approvedBy: ["alice", "bob"] });
  });
  test("what two had to approve needs two whenever it is judged again", async () => {
    const gateway = await start();
    const head = repository.commit();
    for (const path of [...repository.files.keys()]) if (path.endsWith("bob.sig")) repository.files.delete(path);
    expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED", text: expect.stringMatching(/1 of 2/) });
    expect(await gateway.offer(head)).toMatchObject({ code: "approved" });
  });
  test("without the state before at hand, everything counts as wider", async () => {
    const gateway = await start();
    rmSync(join(gateway.folder, "trust"), { recursive: true });
    write({ allow: allow("a.test") });
    repository.writeLock(2, { signers: { alice } });
    expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED" });
    repository.writeLock(2, { signers: { bob } });
    expect(await offer(gateway)).toMatchObject({ code: "approved" });
  });
  test("a policy that cannot be read needs two as well", async () => {
    const gateway = await start();
    repository.files.set("policy.json", Buffer.from("{"));
    repository.writeLock(2, { signers: { alice } });
    expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED" });
  });
});

describe("a rule for some hosts", () => {
  const rule = { name: "lab", hosts: ["lab-*"], principals: ["carol"], threshold: 1 };
  const policy = (lab: readonly string[], other: readonly string[] = ["a.test"], sources = ["10.0.1.1/32"]) => ({
    allow: allow(...other),
    hosts: { "lab-1": { sources, allow: allow(...lab) }, office: { sources: ["10.0.2.0/24"], allow: allow("o.test") } },
  });
  const start = async (changes: object = {}): Promise<TrustGateway> => {
    const gateway = await makeGateway({ ...base, rules: [{ ...rule, ...changes }] });
    write(policy(["x.test"]));
    repository.writeLock(1, { signers: both });
    expect(await offer(gateway)).toMatchObject({ code: "approved" });
    return gateway;
  };
  test("its people open and close for its hosts", async () => {
    const gateway = await start();
    write(policy(["x.test", "y.test"]));
    repository.writeLock(2, { signers: { carol } });
    expect(await offer(gateway)).toMatchObject({ code: "approved", approvedBy: ["carol"] });
  });
  test("the leads do not stand in for them, nor they for the leads", async () => {
    const gateway = await start();
    write(policy(["y.test"]));
    repository.writeLock(2, { signers: both });
    expect(await offer(gateway)).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(/1 of 1 approvals of rule "lab" are missing.*let 1 of carol run/),
    });
    write(policy(["x.test"], ["a.test", "b.test"]));
    repository.writeLock(2, { signers: { carol } });
    expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED", text: expect.stringMatching(/2 of 2/) });
  });
  test("a change for both needs both", async () => {
    const gateway = await start();
    write(policy(["y.test"], ["a.test", "b.test"]));
    repository.writeLock(2, { signers: both });
    expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED" });
    repository.writeLock(2, { signers: { carol } });
    expect(await offer(gateway)).toMatchObject({ code: "approved", approvedBy: ["alice", "bob", "carol"] });
  });
  test("another host that looks alike is not theirs", async () => {
    const gateway = await start();
    write({
      ...policy(["x.test"]),
      hosts: { ...policy(["x.test"]).hosts, "xlab-2": { sources: ["10.0.3.1/32"], allow: allow("e.test") } },
    });
    repository.writeLock(2, { signers: { carol } });
    expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED" });
  });
  test("they take no addresses from anywhere, unless the root gives them networks", async () => {
    const taken = policy(["x.test"], ["a.test"], ["10.0.1.1/32", "10.0.9.9/32"]);
    const gateway = await start();
    write(taken);
    repository.writeLock(2, { signers: { carol } });
    expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED", text: expect.stringMatching(/2 of 2/) });
    repository = makeRepository();
    const other = await start({ sources: ["10.0.9.0/24"] });
    write(taken);
    repository.writeLock(2, { signers: { carol } });
    expect(await offer(other)).toMatchObject({ code: "approved" });
    // Inside their networks too, but it is another host's.
    write({ ...taken, hosts: { ...taken.hosts, office: { sources: ["10.0.9.10/32"], allow: allow("o.test") } } });
    repository.writeLock(3, { signers: { ...both, carol } });
    expect(await offer(other)).toMatchObject({ code: "approved" });
    write({ ...taken, hosts: { "lab-1": { sources: ["10.0.1.1/32", "10.0.9.10/32"], allow: allow("x.test") } } });
    repository.writeLock(4, { signers: { carol } });
    expect(await offer(other)).toMatchObject({ code: "TRUST_UNSIGNED" });
  });
  test("they take no addresses out of another host's network, though the text of that host stays", async () => {
    const gateway = await start({ sources: ["10.0.0.0/16"] });
    write(policy(["x.test"], ["a.test"], ["10.0.1.1/32", "10.0.3.3/32"]));
    repository.writeLock(2, { signers: { carol } });
    expect(await offer(gateway)).toMatchObject({ code: "approved" });
    write(policy(["x.test"], ["a.test"], ["10.0.1.1/32", "10.0.2.1/32"]));
    repository.writeLock(3, { signers: { carol } });
    expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED" });
  });
  test("a label within their own entry changes nothing for anybody, and is the leads' to approve", async () => {
    const gateway = await start();
    const { hosts } = policy([]);
    const labelled = { domains: [{ domain: "x.test", label: "l" }], ports: [443] };
    write({ ...policy(["x.test"]), hosts: { ...hosts, "lab-1": { ...hosts["lab-1"], allow: labelled } } });
    repository.writeLock(2, {});
    expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED" });
    repository.writeLock(2, { signers: { carol } });
    expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED", text: expect.stringMatching(/2 of 2/) });
    repository.writeLock(2, { signers: both });
    expect(await offer(gateway)).toMatchObject({ code: "approved" });
  });
  test("what stands beside its hosts is not theirs to change, though it changes nothing for anybody", async () => {
    const gateway = await start();
    for (const more of [
      { labels: { "a.test": "l" } },
      { tests: [{ from: "office", to: "o.test:443", expect: "allow" }] },
      { groups: { spare: { allow: allow("s.test") } } },
    ]) {
      write({ ...policy(["y.test"]), ...more });
      repository.writeLock(2, { signers: { carol } });
      expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED", text: expect.stringMatching(/2 of 2/) });
    }
  });
  test("text that changes nothing for anybody is the leads' to approve", async () => {
    const gateway = await start();
    write({ ...policy(["x.test"]), labels: { "x.test": "l" } });
    repository.writeLock(2, { signers: { carol } });
    expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED" });
  });
});

describe("a rule for some files", () => {
  const rule = {
    name: "payments",
    files: ["teams/payments/*.json"],
    hosts: ["pay-*"],
    principals: ["carol", "dave"],
    threshold: 2,
    tighten: 1,
  };
  const file = "teams/payments/hosts.json";
  const team = (domains: readonly string[], more: object = {}): void => {
    const text = { version: 1, hosts: { "pay-1": { sources: ["10.0.1.1/32"], allow: allow(...domains) } }, ...more };
    repository.files.set(file, Buffer.from(`${JSON.stringify(text, null, 2)}\n`));
  };
  const main = (domains: readonly string[] = ["a.test"]): void => write({ include: [file], allow: allow(...domains) });

  describe("in the common lock", () => {
    const start = async (): Promise<TrustGateway> => {
      const gateway = await makeGateway({ ...base, rules: [rule] });
      main();
      team(["x.test"]);
      repository.writeLock(1, { signers: both });
      expect(await offer(gateway)).toMatchObject({ code: "approved" });
      return gateway;
    };
    test("its people approve its file, fewer of them what tightens", async () => {
      const gateway = await start();
      team(["x.test", "y.test"]);
      repository.writeLock(2, { signers: { carol } });
      expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED" });
      repository.writeLock(2, { signers: { dave } });
      expect(await offer(gateway)).toMatchObject({ code: "approved", approvedBy: ["carol", "dave"] });
      team(["x.test"]);
      repository.writeLock(3, { signers: { carol } });
      expect(await offer(gateway)).toMatchObject({ code: "approved", approvedBy: ["carol"] });
    });
    test("their file with a rule for everybody needs the leads", async () => {
      const gateway = await start();
      team(["x.test"], { allow: allow("evil.test") });
      repository.writeLock(2, { signers: { carol, dave } });
      expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED" });
    });
    test("their file with a change for others needs the leads", async () => {
      const gateway = await start();
      const office = {
        "pay-1": { sources: ["10.0.1.1/32"], allow: allow("x.test") },
        office: { sources: ["10.0.2.0/24"], allow: allow("e.test") },
      };
      team([], { hosts: office });
      repository.writeLock(2, { signers: { carol, dave } });
      expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED" });
    });
  });

  describe("with a lock of its own", () => {
    const root = { ...base, rules: [{ ...rule, lock: true, threshold: 1 }] };
    const lockMain = (serial: number, signers = both as object): void =>
      void repository.writeLock(serial, { paths: ["policy.json"], signers: signers as typeof both });
    const lockTeam = (serial: number, signers: object = { carol }): void =>
      void repository.writeLock(serial, { part: "payments", paths: [file], signers: signers as typeof both });
    const start = async (): Promise<TrustGateway> => {
      const gateway = await makeGateway(root);
      main();
      team(["x.test"]);
      lockMain(1);
      lockTeam(1, { ...both, carol });
      expect(await offer(gateway)).toMatchObject({ code: "approved", approvedBy: ["alice", "bob", "carol"] });
      return gateway;
    };
    test("each goes its own way, and neither goes back", async () => {
      const gateway = await start();
      team(["y.test"]);
      lockTeam(2);
      expect(await offer(gateway)).toMatchObject({ code: "approved" });
      main(["b.test"]);
      lockMain(2);
      expect(await offer(gateway)).toMatchObject({ code: "approved" });
      expect((await gateway.pointers()).verified).toMatchObject({ serial: 2, parts: { payments: { serial: 2 } } });
      team(["x.test"]);
      lockTeam(1, { ...both, carol });
      main(["c.test"]);
      lockMain(3);
      expect(await offer(gateway)).toMatchObject({
        code: "TRUST_ROLLBACK",
        text: expect.stringMatching(/serial 1 is older than serial 2/),
      });
      team(["z.test"]);
      lockTeam(2);
      expect(await offer(gateway)).toMatchObject({ code: "TRUST_EQUIVOCATION" });
    });
    test("both at once, each by its own people", async () => {
      const gateway = await start();
      team(["y.test"]);
      main(["b.test"]);
      lockTeam(2);
      lockMain(2);
      expect(await offer(gateway)).toMatchObject({ code: "approved" });
    });
    test("the team's lock cannot reach beyond its hosts", async () => {
      const gateway = await start();
      team(["x.test"], { allow: allow("evil.test") });
      lockTeam(2);
      expect(await offer(gateway)).toMatchObject({
        code: "TRUST_UNSIGNED",
        text: expect.stringMatching(/serial 2 of "payments" .*2 of 2/),
      });
      team(["x.test"], { hosts: { "pay-1": { sources: ["10.0.0.0/8"], allow: allow("x.test") } } });
      lockTeam(2);
      expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED" });
    });
    test("the lock of one cannot stand for the other, nor list the other's files", async () => {
      const gateway = await start();
      repository.writeLock(2, { paths: ["policy.json", file], signers: both });
      expect(await offer(gateway)).toMatchObject({
        code: "TRUST_WRONG_TARGET",
        text: expect.stringMatching(/lists "teams\/payments\/hosts.json", which belongs to locks\/payments.json/),
      });
      lockMain(2);
      repository.writeLock(2, { part: "payments", paths: [file, "policy.json"], signers: { carol } });
      expect(await offer(gateway)).toMatchObject({
        code: "TRUST_WRONG_TARGET",
        text: expect.stringMatching(/belongs to the common lock/),
      });
      repository.writeLock(2, { part: "payments", paths: [file], signers: { carol }, changes: { part: "other" } });
      expect(await offer(gateway)).toMatchObject({
        code: "TRUST_WRONG_TARGET",
        text: expect.stringMatching(/is for the part "other"/),
      });
      repository.files.set("locks/payments.json", repository.files.get("clawgress.lock.json") ?? Buffer.alloc(0));
      expect(await offer(gateway)).toMatchObject({
        code: "TRUST_WRONG_TARGET",
        text: expect.stringMatching(/is the common one/),
      });
    });
    test("without its lock, the team's file is nothing that was approved", async () => {
      const gateway = await start();
      repository.files.delete("locks/payments.json");
      const commit = repository.commit();
      const asked: string[] = [];
      await gateway.offer({
        ...commit,
        readFile: (path, most) => commit.readFile(path, most).finally(() => asked.push(path)),
      });
      expect(asked).not.toContain(file);
    });
    test("who lifts a denial and who allows behind it answer for it together", async () => {
      const gateway = await makeGateway({ ...root, roles: { ...base.roles, policy: { ...leads, tighten: 1 } } });
      const open = (deny: object): void => write({ include: [file], allow: allow("a.test"), ...deny });
      open({ deny: { domains: ["z.test"] } });
      team(["x.test"]);
      lockMain(1);
      lockTeam(1, { ...both, carol });
      expect(await offer(gateway)).toMatchObject({ code: "approved" });
      open({});
      team(["x.test", "z.test"]);
      lockMain(2, { alice });
      lockTeam(2, {});
      expect(await offer(gateway)).toMatchObject({ code: "TRUST_UNSIGNED", text: expect.stringMatching(/"payments"/) });
      lockTeam(2, { dave });
      expect(await offer(gateway)).toMatchObject({ code: "approved" });
    });
  });
});

test("a file whose bytes are not what the lock lists tells nothing of what the lock means", () => {
  const text = (...domains: readonly string[]): Buffer =>
    Buffer.from(JSON.stringify({ version: 1, allow: allow(...domains) }));
  const lock = (serial: number, bytes: Buffer): Lock => ({
    ...{ version: 1, repository: "egress", branch: "main", group: "default", serial },
    files: { "policy.json": digestOf(bytes) },
  });
  const [wide, narrow] = [text("a.test", "b.test"), text("a.test")];
  const tighten = { ...base, roles: { ...base.roles, policy: { ...leads, tighten: 1 } } };
  const requirement = (listed: Buffer, present: Buffer) =>
    requireForLocks({
      ...{ root: makeRoot(tighten), policyPath: "policy.json" },
      last: new Map([[null, { lock: lock(1, wide), contents: new Map([["policy.json", wide]]) }]]),
      locks: [{ part: null, lock: lock(2, listed) }],
      present: new Map([["policy.json", present]]),
    });
  expect(requirement(narrow, narrow)).toMatchObject([[{ tightens: true, threshold: 1 }]]);
  expect(requirement(text("a.test", "b.test", "c.test"), narrow)).toMatchObject([[{ tightens: false, threshold: 2 }]]);
});

describe("patterns", () => {
  test.each<[string, string, boolean]>([
    ["a.json", "a.json", true],
    ["a.json", "xa.json", false],
    ["*.json", "a.json", true],
    ["*.json", "teams/a.json", false],
    ["teams/*/a.json", "teams/x/a.json", true],
    ["teams/*/a.json", "teams/x/y/a.json", false],
    ["teams/**", "teams/x/y/a.json", true],
    ["teams/**", "teamsx/a.json", false],
    ["**/a.json", "a.json", true],
    ["**/a.json", "x/y/a.json", true],
    ["teams/**/a.json", "teams/a.json", true],
    ["pay-*", "pay-", true],
    ["*ab*ab*", "abab", true],
    ["*ab*ab*", "aab", false],
    ["a*a", "a", false],
    ["a.json", "aXjson", false],
    ["a.json", "A.json", false],
  ])("%s for %s", (pattern, text, expected) => {
    expect(fitsAny([pattern], text)).toBe(expected);
  });
  test("none takes long on any text", () => {
    const startedAtMs = performance.now();
    expect(fitsAny([`${"a*".repeat(120)}b`], "a".repeat(255))).toBe(false);
    expect(fitsAny([`${"**/".repeat(80)}b`], `${"a/".repeat(120)}c`)).toBe(false);
    expect(performance.now() - startedAtMs).toBeLessThan(1000);
  });
});
