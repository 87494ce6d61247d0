import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { init } from "../../../agent/commands/init.ts";
import { createOutput } from "../../../agent/commands/output.ts";
import { type RecoverOptions, recover } from "../../../agent/commands/recover.ts";
import { AgentError } from "../../../agent/errors.ts";
import { assertOwnState, healPointers, readPointers } from "../../../agent/host/pointer-store.ts";
import { RECOVERY_NAMESPACE } from "../../../agent/trust/recovery.ts";
import { type MemoryRepository, makeRepository } from "../../support/memory-repository.ts";
import { makeFolder } from "../../support/ssh-keys.ts";
import { makeSigner, rootJson, type Signer } from "../../support/trust.ts";
import { makeTrustGateway, type TrustGateway } from "../../support/trust-gateway.ts";

/** Every way in which the state of a gateway can be damaged, lost, old or another's: what it does, and the way out. */

const [alice, bob, carol, mallory] = [makeSigner(), makeSigner(), makeSigner(), makeSigner()];
const json = rootJson({ alice: [alice.publicLine], bob: [bob.publicLine], carol: [carol.publicLine] }, 2);
const { folder, remove } = makeFolder();
afterAll(remove);
const state = join(folder, "state");
const pointers = join(state, "pointers");
const configFile = join(folder, "agent.json");
const rootFile = join(folder, "root.json");
const request = join(state, "recover.json");
const identity = { gateway: "gw-1", repository: "egress" };

let repository: MemoryRepository;
let gateway: TrustGateway;

interface Ran {
  readonly status: number | string;
  readonly lines: string;
}

async function ran(work: (output: ReturnType<typeof createOutput>) => Promise<number>): Promise<Ran> {
  let lines = "";
  const sink = {
    write: (text: string) => {
      lines += text;
    },
  };
  try {
    return { status: await work(createOutput({ json: false, color: false }, sink, sink)), lines };
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    return { status: error.code, lines: `${lines}${error.message}\n→ ${error.remedy}` };
  }
}
const runRecover = (options: Partial<RecoverOptions> = {}): Promise<Ran> =>
  ran((output) => recover({ config: configFile, ...options }, output));
const runInit = (): Promise<Ran> =>
  ran((output) => init({ gateway: true, config: configFile, group: "default", branch: "main" }, output));
const approve = (signers: { readonly [name: string]: Signer }, namespace = RECOVERY_NAMESPACE): void => {
  for (const [name, signer] of Object.entries(signers)) {
    writeFileSync(`${request}.${name}.sig`, signer.sign(readFileSync(request), namespace));
  }
};
const release = (serial: number) => {
  repository.writePolicy({ version: 1, allow: { domains: [`n${serial}.test`], ports: [443] } });
  repository.writeLock(serial, { signers: { alice, bob } });
  return repository.commit();
};
const openGateway = async (): Promise<TrustGateway> =>
  await makeTrustGateway({ folder: state, root: readFileSync(rootFile), keepState: true });
const codeOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
    return "none";
  } catch (error) {
    return error instanceof AgentError ? error.code : String(error);
  }
};
const eachSlot = (kind: string, spoil: (path: string) => void): void => {
  for (const slot of ["a", "b"]) spoil(join(pointers, `${kind}.${slot}.json`));
};
/** What the agent does with the state before anything else. */
const start = async (): Promise<string> =>
  await codeOf(assertOwnState(pointers, identity).then(() => healPointers(pointers)));

beforeEach(async () => {
  rmSync(state, { recursive: true, force: true });
  repository = makeRepository();
  writeFileSync(rootFile, repository.writeRoot(json));
  const example = JSON.parse(readFileSync(new URL("../../../examples/agent.json", import.meta.url), "utf8")) as {
    repository: object;
    trust: object;
  };
  const settings = {
    ...example,
    gateway: "gw-1",
    repository: { ...example.repository, name: "egress", branch: "main", group: "default" },
    trust: { root: rootFile },
    paths: { state, run: join(folder, "run") },
  };
  writeFileSync(configFile, JSON.stringify(settings));
  expect((await runInit()).status).toBe(0);
  gateway = await openGateway();
  for (const serial of [1, 2]) expect(await gateway.enforce(release(serial))).toMatchObject({ code: "approved" });
});

const damage: readonly (readonly [string, () => void])[] = [
  ["both slots of the verified pointer are cut off", () => eachSlot("verified", (path) => writeFileSync(path, "{"))],
  ["both slots of the verified pointer are empty", () => eachSlot("verified", (path) => writeFileSync(path, ""))],
  ["both slots of the confirmed pointer are gone", () => eachSlot("confirmed", (path) => rmSync(path))],
  ["the folder is gone", () => rmSync(pointers, { recursive: true })],
  ["the note of whose state it is is gone", () => rmSync(join(pointers, "identity.json"))],
  [
    "it is a copy of another gateway's",
    () =>
      writeFileSync(
        join(pointers, "identity.json"),
        JSON.stringify({ version: 1, gateway: "gw-2", repository: "egress" }),
      ),
  ],
];

describe.each(damage)("GA10: %s", (_what, spoil) => {
  test("the agent ends and says so; starting again from nothing is refused; the right people lead out", async () => {
    spoil();
    expect(await start()).toBe("STATE_CORRUPT");
    expect(await runInit()).toMatchObject({
      status: "STATE_CORRUPT",
      lines: expect.stringMatching(/clawgress recover/),
    });

    expect(await runRecover()).toMatchObject({
      status: 4,
      lines: expect.stringMatching(/serial above 1\..*2 of alice, bob, carol/s),
    });
    expect(await runRecover()).toMatchObject({
      status: "TRUST_UNSIGNED",
      lines: expect.stringMatching(/approved by nobody; 2 of 2/),
    });
    approve({ alice });
    expect(await runRecover()).toMatchObject({
      status: "TRUST_UNSIGNED",
      lines: expect.stringMatching(/let 1 of bob, carol/),
    });
    approve({ bob: mallory });
    expect(await runRecover()).toMatchObject({
      status: "TRUST_UNSIGNED",
      lines: expect.stringMatching(/bob\.sig does not count/),
    });
    approve({ bob }, "clawgress-policy@v1");
    expect(await runRecover()).toMatchObject({ status: "TRUST_UNSIGNED" });
    expect(await start()).toBe("STATE_CORRUPT");
    approve({ bob });
    expect(await runRecover()).toMatchObject({ status: 0, lines: expect.stringMatching(/Approved by alice, bob/) });
    expect(existsSync(request)).toBe(false);

    expect(await start()).toBe("none");
    const again = await openGateway();
    expect(await again.offer(release(1))).toMatchObject({ code: "TRUST_ROLLBACK" });
    expect(await again.offer(release(2))).toMatchObject({ code: "approved" });
    expect(await again.offer(release(3))).toMatchObject({ code: "approved" });
    expect(await runRecover()).toMatchObject({ status: "USAGE", lines: expect.stringMatching(/nothing is wrong/) });
  });
});

describe("a request to recover", () => {
  const spoil = (): void => rmSync(pointers, { recursive: true });
  test("is for this loss only: an old one with its approvals does nothing for the next", async () => {
    spoil();
    await runRecover();
    approve({ alice, bob });
    const kept = new Map(
      readdirSync(state)
        .filter((name) => name.startsWith("recover"))
        .map((name) => [name, readFileSync(join(state, name))]),
    );
    expect((await runRecover()).status).toBe(0);
    const again = await openGateway();
    for (const serial of [2, 3, 4]) expect(await again.enforce(release(serial))).toMatchObject({ code: "approved" });
    spoil();
    await runRecover();
    for (const [name, bytes] of kept) if (name !== "recover.json") writeFileSync(join(state, name), bytes);
    expect(await runRecover()).toMatchObject({
      status: "TRUST_UNSIGNED",
      lines: expect.stringMatching(/does not fit/),
    });
  });
  test("needs a serial from people where the disk knows none", async () => {
    rmSync(state, { recursive: true });
    mkdirSync(state);
    expect(await runRecover()).toMatchObject({ status: "USAGE", lines: expect.stringMatching(/--above/) });
    expect(await runRecover({ above: 41 })).toMatchObject({ status: 4, lines: expect.stringMatching(/above 41/) });
    approve({ alice, carol });
    expect((await runRecover()).status).toBe(0);
    const again = await openGateway();
    expect(await again.offer(release(41))).toMatchObject({ code: "TRUST_ROLLBACK" });
    expect(await again.offer(release(42))).toMatchObject({ code: "approved" });
  });
  test("that somebody edited does not carry its approvals", async () => {
    spoil();
    await runRecover();
    approve({ alice, bob });
    writeFileSync(request, readFileSync(request, "utf8").replace('"above": 1', '"above": 0'));
    expect(await runRecover()).toMatchObject({ status: "TRUST_UNSIGNED" });
    writeFileSync(request, "{}");
    expect(await runRecover()).toMatchObject({ status: 4 });
  });
  test("is judged by the newest root that was followed, not by the one that was installed", async () => {
    const next = { ...rootJson({ bob: [bob.publicLine], carol: [carol.publicLine] }, 2), root: 2 };
    repository.writeRoot(next, { old: { bob, carol }, new: { bob, carol } });
    repository.writeLock(3, { signers: { bob, carol } });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "approved" });
    spoil();
    await runRecover();
    approve({ alice, bob });
    expect(await runRecover()).toMatchObject({ status: "TRUST_UNSIGNED" });
    approve({ carol });
    expect((await runRecover()).status).toBe(0);
    expect((await readPointers(pointers)).verified).toMatchObject({ root: 2, serial: 2 });
  });
});

describe("one slot", () => {
  test.each(["verified.a", "verified.b", "confirmed.a", "confirmed.b"])(
    "%s is damaged: its twin is written again, and said so",
    async (name) => {
      const before = await readPointers(pointers);
      writeFileSync(join(pointers, `${name}.json`), "rubbish");
      expect(await start()).toBe("none");
      expect(await readPointers(pointers)).toEqual({ ...before, notes: [] });
    },
  );
  test("GE20: a format that this version does not know is refused, and left as it is", async () => {
    const paths = ["a", "b"].map((slot) => join(pointers, `verified.${slot}.json`));
    for (const path of paths) {
      const newer = readFileSync(path, "utf8").replace('"version":2', '"version":3');
      expect(newer).toContain('"version":3');
      writeFileSync(path, newer);
    }
    const before = paths.map((path) => readFileSync(path, "utf8"));
    expect(await start()).toBe("STATE_CORRUPT");
    expect(paths.map((path) => readFileSync(path, "utf8"))).toEqual(before);
    await expect(readPointers(pointers)).rejects.toMatchObject({
      code: "STATE_CORRUPT",
      message: expect.stringMatching(/written by a newer version/),
    });
  });
});

describe("GA11: an old backup", () => {
  const backup = join(folder, "backup");
  test("of everything goes forward only, from where it was", async () => {
    rmSync(backup, { recursive: true, force: true });
    cpSync(state, backup, { recursive: true });
    for (const serial of [3, 4]) await gateway.enforce(release(serial));
    rmSync(state, { recursive: true });
    cpSync(backup, state, { recursive: true });
    expect(await start()).toBe("none");
    const again = await openGateway();
    expect(await again.offer(release(1))).toMatchObject({ code: "TRUST_ROLLBACK" });
    expect(await again.offer(release(5))).toMatchObject({ code: "approved" });
  });
  test("of the pointers alone is brought up to what this disk has approvals of", async () => {
    rmSync(backup, { recursive: true, force: true });
    cpSync(pointers, backup, { recursive: true });
    for (const serial of [3, 4]) await gateway.enforce(release(serial));
    rmSync(pointers, { recursive: true });
    cpSync(backup, pointers, { recursive: true });
    const again = await openGateway();
    await again.raise();
    expect((await readPointers(pointers)).verified.serial).toBe(4);
    expect(again.log).toContainEqual(expect.objectContaining({ event: "pointer-raised", from: 2, to: 4 }));
    expect(await again.offer(release(3))).toMatchObject({ code: "TRUST_ROLLBACK" });
  });
  test("nothing is raised by approvals that do not hold", async () => {
    rmSync(backup, { recursive: true, force: true });
    cpSync(pointers, backup, { recursive: true });
    await gateway.enforce(release(3));
    const [path = ""] = readdirSync(join(state, "trust", "locks"))
      .map((name) => join(state, "trust", "locks", name))
      .filter((file) => {
        const { lock } = JSON.parse(readFileSync(file, "utf8")) as { lock: string };
        return Buffer.from(lock, "base64").includes('"serial": 3');
      });
    writeFileSync(path, readFileSync(path, "utf8").replace(/"signatures":\{"alice":\{[^}]*\},/, '"signatures":{'));
    rmSync(pointers, { recursive: true });
    cpSync(backup, pointers, { recursive: true });
    const again = await openGateway();
    await again.raise();
    expect((await readPointers(pointers)).verified.serial).toBe(2);
  });
});

test("what is kept beside the pointers may be lost or damaged: it is fetched again, and nothing weaker is taken", async () => {
  const head = release(3);
  expect(await gateway.enforce(head)).toMatchObject({ code: "approved" });
  for (const spoil of [
    () => rmSync(join(state, "trust"), { recursive: true }),
    () => {
      for (const name of readdirSync(join(state, "trust", "locks")))
        writeFileSync(join(state, "trust", "locks", name), "{}");
      for (const name of readdirSync(join(state, "trust", "files")))
        writeFileSync(join(state, "trust", "files", name), "evil");
      writeFileSync(join(state, "trust", "root.json"), "{}");
      writeFileSync(join(state, "trust", "first-seen.json"), "[1]");
    },
  ]) {
    spoil();
    const again = await openGateway();
    expect(await again.look()).toMatchObject({ alarms: [] });
    expect(await again.offer(release(2))).toMatchObject({ code: "TRUST_ROLLBACK" });
    expect(await again.offer(head)).toMatchObject({ code: "approved" });
  }
});
