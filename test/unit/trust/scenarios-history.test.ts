import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { type MemoryRepository, makeRepository } from "../../support/memory-repository.ts";
import { makeFolder } from "../../support/ssh-keys.ts";
import { makeSigner, rootJson } from "../../support/trust.ts";
import { type GatewayOptions, makeTrustGateway, type TrustGateway } from "../../support/trust-gateway.ts";

/** What a gateway does when history is replayed, rewritten, withheld or driven up. The names are those of the list of attacks. */

const [alice, bob, carol, dave, erin] = [makeSigner(), makeSigner(), makeSigner(), makeSigner(), makeSigner()];
const json = rootJson({ alice: [alice.publicLine], bob: [bob.publicLine], carol: [carol.publicLine] }, 2);
const both = { alice, bob };
const { folder, remove } = makeFolder();
afterAll(remove);

let repository: MemoryRepository;
let root: Buffer;
let gateways = 0;
const makeGateway = async (options: Partial<GatewayOptions> = {}): Promise<TrustGateway> => {
  gateways += 1;
  const own = join(folder, String(gateways));
  mkdirSync(own);
  return await makeTrustGateway({ folder: own, root, ...options });
};
const allow = (...domains: readonly string[]): object => ({ version: 1, allow: { domains, ports: [443] } });
const release = (serial: number, ...domains: readonly string[]) => {
  repository.writePolicy(allow(...domains));
  repository.writeLock(serial, { signers: both });
  return repository.commit();
};

beforeEach(() => {
  repository = makeRepository();
  root = repository.writeRoot(json);
});

test("GA1: the head goes back to an older commit: held until it goes forward again", async () => {
  const gateway = await makeGateway();
  const [old, newer] = [release(1, "a.example.com"), release(2, "b.example.com")];
  expect(await gateway.enforce(newer)).toMatchObject({ code: "approved" });
  const before = await gateway.pointers();
  expect(await gateway.offer(old)).toMatchObject({
    code: "TRUST_ROLLBACK",
    text: expect.stringMatching(/serial 1 is older/),
  });
  expect(await gateway.pointers()).toEqual(before);
  expect(await gateway.offer(newer)).toMatchObject({ code: "approved" });
  expect(await gateway.offer(release(3, "c.example.com"))).toMatchObject({
    code: "approved",
    approvedBy: ["alice", "bob"],
  });
});

test("GA5: an older text with a new serial and new approvals is a revert like any other", async () => {
  const gateway = await makeGateway();
  for (const [index, domain] of ["a.example.com", "b.example.com", "a.example.com"].entries()) {
    expect(await gateway.offer(release(index + 1, domain))).toMatchObject({ code: "approved" });
  }
  expect((await gateway.pointers()).verified.serial).toBe(3);
});

test("GA6: an old lock with its approvals, copied into a new commit, is refused", async () => {
  const gateway = await makeGateway();
  release(1, "a.example.com");
  const old = new Map(repository.files);
  expect(await gateway.offer(release(2, "b.example.com"))).toMatchObject({ code: "approved" });
  for (const [path, bytes] of old) repository.files.set(path, bytes);
  expect(await gateway.offer(repository.commit())).toMatchObject({ code: "TRUST_ROLLBACK" });
});

test("GA7: one serial with two contents, both approved, is an alarm; without approvals it is nobody's word", async () => {
  const gateway = await makeGateway();
  expect(await gateway.offer(release(1, "a.example.com"))).toMatchObject({ code: "approved" });
  repository.writePolicy(allow("evil.example.com"));
  repository.writeLock(1, { signers: { alice } });
  expect(await gateway.offer(repository.commit())).toMatchObject({ code: "TRUST_UNSIGNED" });
  expect(await gateway.offer(release(1, "evil.example.com"))).toMatchObject({
    code: "TRUST_EQUIVOCATION",
    text: expect.stringMatching(/find out who signed two locks/),
  });
  expect(await gateway.offer(release(2, "a.example.com"))).toMatchObject({ code: "approved" });
});

describe("GA8: a serial driven up to the maximum", () => {
  const top = Number.MAX_SAFE_INTEGER;
  const people = { bob: [bob.publicLine], carol: [carol.publicLine], dave: [dave.publicLine] };
  const recovery = { ...rootJson(people, 2), root: 2, serials: { void: 1000, restart: 7 } };
  const hijacked = async (): Promise<TrustGateway> => {
    const gateway = await makeGateway();
    expect(await gateway.offer(release(7, "a.example.com"))).toMatchObject({ code: "approved" });
    expect(await gateway.offer(release(top, "evil.example.com"))).toMatchObject({ code: "approved" });
    expect((await gateway.pointers()).verified.serial).toBe(top);
    return gateway;
  };

  test("signers of policies cannot bring it down", async () => {
    const gateway = await hijacked();
    expect(await gateway.offer(release(8, "a.example.com"))).toMatchObject({ code: "TRUST_ROLLBACK" });
  });
  test("one signer of the root cannot either", async () => {
    const gateway = await hijacked();
    repository.writeRoot(recovery, { old: { bob }, new: { bob } });
    expect(await gateway.offer(release(8, "a.example.com"))).toMatchObject({ code: "TRUST_ROOT_CHAIN" });
    expect((await gateway.pointers()).verified).toMatchObject({ root: 1, serial: top });
  });
  test("the threshold of the root can, and what was void stays void", async () => {
    const gateway = await hijacked();
    repository.writeRoot(recovery, { old: { bob, carol }, new: { bob, carol } });
    repository.writePolicy(allow("a.example.com"));
    repository.writeLock(8, { signers: { bob, carol } });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "approved" });
    expect((await gateway.pointers()).verified).toMatchObject({ root: 2, serial: 8 });
    expect(gateway.log).toContainEqual(expect.objectContaining({ event: "serials-taken-back", from: top, to: 7 }));
    repository.writeLock(top, { signers: { bob, carol } });
    expect(await gateway.offer(repository.commit())).toMatchObject({
      code: "TRUST_ROLLBACK",
      text: expect.stringMatching(/void: root 2 lets none from 1000 on count/),
    });
    repository.writeLock(7, { signers: { bob, carol } });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "TRUST_ROLLBACK" });
  });
  test("it takes nothing back from a gateway that was never driven up", async () => {
    const gateway = await makeGateway();
    expect(await gateway.offer(release(20, "a.example.com"))).toMatchObject({ code: "approved" });
    repository.writeRoot(recovery, { old: { bob, carol }, new: { bob, carol } });
    repository.writeLock(8, { signers: { bob, carol } });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "TRUST_ROLLBACK" });
    expect((await gateway.pointers()).verified).toMatchObject({ root: 2, serial: 20 });
  });
});

test("GA17: the same head for longer than the maximum age is STALE, later EXPIRED; a new serial makes it FRESH", async () => {
  const gateway = await makeGateway({ trust: { maxAgeS: 3600, graceS: 600 } });
  const head = release(1, "a.example.com");
  await gateway.enforce(head);
  expect(await gateway.look()).toMatchObject({ freshness: { state: "FRESH" }, alarms: [], narrowing: "keep" });
  gateway.pass(3600_000);
  expect(await gateway.offer(head)).toMatchObject({ code: "approved" });
  expect(await gateway.look()).toMatchObject({
    freshness: { state: "STALE" },
    alarms: [
      { code: "TRUST_STALE", message: expect.stringMatching(/^STALE: nothing has shown since 2026-11-26T01:00:00Z/) },
    ],
  });
  gateway.pass(600_000);
  expect(await gateway.look()).toMatchObject({ freshness: { state: "EXPIRED" }, narrowing: "keep" });
  await gateway.enforce(release(2, "a.example.com"));
  expect(await gateway.look()).toMatchObject({ freshness: { state: "FRESH" }, alarms: [] });
  expect(gateway.log.filter(({ event }) => event === "trust-alarm")).toHaveLength(2);
});

test("GA20: no time in a commit plays any part: the raw commit is not even looked at", async () => {
  const gateway = await makeGateway();
  const dates = ["99999999999999999999 +0000", "-1 -9999", "0 +0000", "1e9 nonsense"];
  for (const [index, date] of dates.entries()) {
    const commit = { ...release(index + 1, "a.example.com"), raw: Buffer.from(`author x <y> ${date}\n\n`) };
    expect(await gateway.offer(commit)).toMatchObject({ code: "approved" });
  }
  const old = { ...release(2, "a.example.com"), raw: Buffer.from("author x <y> 99999999999 +0000\n\n") };
  expect(await gateway.offer(old)).toMatchObject({ code: "TRUST_ROLLBACK" });
});

describe("the chain of roots", () => {
  const keys = { alice: [alice.publicLine], bob: [bob.publicLine], carol: [carol.publicLine] };
  const next = (number: number, people: { readonly [name: string]: readonly string[] } = keys, threshold = 2) => ({
    ...rootJson(people, threshold),
    root: number,
  });
  const withDave = { bob: [bob.publicLine], carol: [carol.publicLine], dave: [dave.publicLine] };

  test("a gateway ten rotations behind catches up from the newest tree alone", async () => {
    const gateway = await makeGateway();
    expect(await gateway.offer(release(1, "a.example.com"))).toMatchObject({ code: "approved" });
    const team = [alice, bob, carol, dave, erin, ...Array.from({ length: 8 }, () => makeSigner())];
    const peopleAt = (number: number) => {
      const members = team.slice(number - 1, number + 2);
      return Object.fromEntries(members.map((signer, index) => [`p${number - 1 + index}`, signer]));
    };
    const linesOf = (people: { readonly [name: string]: { readonly publicLine: string } }) =>
      Object.fromEntries(Object.entries(people).map(([name, { publicLine }]) => [name, [publicLine]]));
    repository = makeRepository();
    root = repository.writeRoot({ ...rootJson(linesOf(peopleAt(1)), 2), root: 1 });
    const behind = await makeGateway();
    for (let number = 2; number <= 11; number++) {
      const [old, now] = [peopleAt(number - 1), peopleAt(number)];
      const shared = Object.fromEntries(Object.entries(old).filter(([name]) => name in now));
      repository.writeRoot({ ...rootJson(linesOf(now), 2), root: number }, { old: shared, new: shared });
    }
    repository.writePolicy(allow("a.example.com"));
    const [first, second] = Object.entries(peopleAt(11));
    if (first === undefined || second === undefined) throw new Error("nobody");
    repository.writeLock(40, { signers: Object.fromEntries([first, second]) });
    expect(await behind.offer(repository.commit())).toMatchObject({ code: "approved" });
    expect((await behind.pointers()).verified).toMatchObject({ root: 11, serial: 40 });
    expect(behind.log.filter(({ event }) => event === "root-followed")).toHaveLength(10);
  });

  test("two rotations in one commit are followed both", async () => {
    const gateway = await makeGateway();
    repository.writeRoot(next(2, withDave), { old: { bob, carol }, new: { bob, dave } });
    repository.writeRoot(next(3, withDave, 1), { old: { carol, dave }, new: { dave } });
    repository.writePolicy(allow("a.example.com"));
    repository.writeLock(1, { signers: { dave } });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "approved", approvedBy: ["dave"] });
    expect((await gateway.pointers()).verified).toMatchObject({ root: 3 });
  });

  const broken: readonly (readonly [string, () => void, string, RegExp])[] = [
    [
      "by the new one alone",
      () => repository.writeRoot(next(2, withDave), { new: { bob, carol, dave } }),
      "TRUST_ROOT_CHAIN",
      /approved by nobody as the root before it \(root 1\) asks; 2 of 2/,
    ],
    [
      "by the old one alone",
      () => repository.writeRoot(next(2, withDave), { old: { alice, bob, carol } }),
      "TRUST_ROOT_CHAIN",
      /approved by nobody as itself asks/,
    ],
    [
      "by one too few of the old",
      () => repository.writeRoot(next(2, withDave), { old: { bob }, new: { bob, carol } }),
      "TRUST_ROOT_CHAIN",
      /1 of 2 approvals are missing/,
    ],
    [
      "by one too few of the new",
      () => repository.writeRoot(next(2, withDave), { old: { bob, carol }, new: { dave } }),
      "TRUST_ROOT_CHAIN",
      /1 of 2 approvals are missing/,
    ],
    [
      "for policies instead of roots",
      () => repository.writeRoot(next(2), { old: both, new: both, namespace: "clawgress-policy@v1" }),
      "TRUST_ROOT_CHAIN",
      /namespace "clawgress-policy@v1"/,
    ],
    [
      "for another number than its file's",
      () => {
        repository.writeRoot(next(3), { old: both, new: both });
        repository.files.set("trust/2.json", repository.files.get("trust/3.json") ?? Buffer.alloc(0));
        repository.files.delete("trust/3.json");
      },
      "TRUST_ROOT_CHAIN",
      /says that it is root 3/,
    ],
    [
      "with a hole in the chain",
      () => repository.writeRoot(next(3), { old: both, new: both }),
      "TRUST_ROOT_CHAIN",
      /trust\/2\.json is missing/,
    ],
    [
      "for another repository",
      () => repository.writeRoot({ ...next(2), repository: "other" } as { root: number }, { old: both, new: both }),
      "TRUST_ROOT_CHAIN",
      /for the repository other/,
    ],
    [
      "with a threshold of 0",
      () =>
        repository.writeRoot(
          { ...next(2), roles: { policy: { principals: ["alice"], threshold: 0 }, root: json.roles.root } } as {
            root: number;
          },
          { old: both, new: both },
        ),
      "TRUST_ROOT_CHAIN",
      /trust\/2\.json:\d+:\d+: "threshold" is not a whole number from 1 to 1/,
    ],
    [
      "with the first root changed",
      () => repository.writeRoot({ ...json, $schema: "x" } as { root: number }),
      "TRUST_EQUIVOCATION",
      /a root is never changed/,
    ],
  ];
  test.each(broken)("a next root %s is not followed, and the old one stays", async (_what, tamper, code, text) => {
    const gateway = await makeGateway();
    expect(await gateway.offer(release(1, "a.example.com"))).toMatchObject({ code: "approved" });
    const before = await gateway.pointers();
    tamper();
    repository.writeLock(2, { signers: both });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code, text: expect.stringMatching(text) });
    expect(await gateway.pointers()).toEqual(before);
  });

  test("a root is followed though the lock beside it is refused: who was removed stays removed", async () => {
    const gateway = await makeGateway();
    expect(await gateway.offer(release(1, "a.example.com"))).toMatchObject({ code: "approved" });
    repository.writeRoot(next(2, withDave), { old: { bob, carol }, new: { bob, carol } });
    expect(await gateway.offer(release(2, "b.example.com"))).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(/approved by bob; 1 of 2/),
    });
    expect((await gateway.pointers()).verified).toMatchObject({ root: 2, serial: 1 });
    for (const path of [...repository.files.keys()].filter((one) => one.startsWith("trust/2")))
      repository.files.delete(path);
    expect(await gateway.offer(release(3, "b.example.com"))).toMatchObject({
      code: "TRUST_ROOT_CHAIN",
      text: expect.stringMatching(/carries roots up to 1, this gateway follows 2/),
    });
    repository.files.delete("trust/1.json");
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "TRUST_UNSIGNED" });
  });

  test("GB9: who is new in a root counts with it, not before", async () => {
    const gateway = await makeGateway();
    repository.writePolicy(allow("a.example.com"));
    repository.writeLock(1, { signers: { bob, dave } });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "TRUST_UNSIGNED" });
    repository.writeRoot(next(2, withDave), { old: { alice, carol }, new: { carol, dave } });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "approved", approvedBy: ["bob", "dave"] });
  });

  test("another chain from the same beginning is refused by whom the first was followed by", async () => {
    const gateway = await makeGateway();
    const first = new Map(repository.files);
    repository.writeRoot(next(2, withDave), { old: { bob, carol }, new: { bob, carol } });
    repository.writePolicy(allow("a.example.com"));
    repository.writeLock(1, { signers: { bob, carol } });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "approved" });
    repository = makeRepository();
    for (const [path, bytes] of first) repository.files.set(path, bytes);
    repository.writeRoot({ ...next(2), $schema: "fork" } as { root: number }, { old: both, new: both });
    expect(await gateway.offer(release(9, "evil.example.com"))).toMatchObject({ code: "TRUST_EQUIVOCATION" });
  });

  test("what was remembered of the root may be lost: the chain is walked again, and must lead to the same", async () => {
    const gateway = await makeGateway();
    const first = new Map(repository.files);
    repository.writeRoot(next(2, withDave), { old: { bob, carol }, new: { bob, carol } });
    repository.writePolicy(allow("a.example.com"));
    repository.writeLock(1, { signers: { bob, carol } });
    const head = repository.commit();
    expect(await gateway.offer(head)).toMatchObject({ code: "approved" });
    const { rmSync } = await import("node:fs");
    rmSync(join(gateway.folder, "trust"), { recursive: true });
    expect(await gateway.offer(head)).toMatchObject({ code: "approved" });
    rmSync(join(gateway.folder, "trust"), { recursive: true });
    repository.files.clear();
    for (const [path, bytes] of first) repository.files.set(path, bytes);
    expect(await gateway.offer(release(9, "evil.example.com"))).toMatchObject({
      code: "TRUST_ROLLBACK",
      text: expect.stringMatching(/this gateway has followed root 2/),
    });
    repository.writeRoot({ ...next(2), $schema: "fork" } as { root: number }, { old: both, new: both });
    expect(await gateway.offer(release(9, "evil.example.com"))).toMatchObject({
      code: "TRUST_EQUIVOCATION",
      text: expect.stringMatching(/leads to another root 2/),
    });
  });

  test("what no chain reaches can be installed by hand, with a higher number", async () => {
    const gateway = await makeGateway();
    expect(await gateway.offer(release(5, "a.example.com"))).toMatchObject({ code: "approved" });
    repository = makeRepository();
    const installed = repository.writeRoot({ ...next(2, withDave), root: 9 });
    const again = await makeTrustGatewayOn(gateway, installed);
    repository.writePolicy(allow("a.example.com"));
    repository.writeLock(4, { signers: { bob, dave } });
    expect(await again.offer(repository.commit())).toMatchObject({ code: "TRUST_ROLLBACK" });
    repository.writeLock(6, { signers: { bob, dave } });
    expect(await again.offer(repository.commit())).toMatchObject({ code: "approved" });
    const other = await makeTrustGatewayOn(gateway, repository.writeRoot({ ...next(9), root: 9 }));
    expect(await other.offer(repository.commit())).toMatchObject({ code: "TRUST_ROOT_INVALID" });
  });
});

/** The same state folder with another root installed. */
async function makeTrustGatewayOn(gateway: TrustGateway, installed: Buffer): Promise<TrustGateway> {
  return await makeTrustGateway({ folder: gateway.folder, root: installed, keepState: true });
}
