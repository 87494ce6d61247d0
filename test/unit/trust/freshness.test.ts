import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { clockBehindMs, judgedTime, nextPassed } from "../../../agent/trust/clock.ts";
import { parseFresh, renderFresh } from "../../../agent/trust/freshness.ts";
import { type MemoryRepository, makeRepository } from "../../support/memory-repository.ts";
import { makeFolder } from "../../support/ssh-keys.ts";
import { makeSigner, rootJson } from "../../support/trust.ts";
import { type GatewayOptions, makeTrustGateway, type TrustGateway } from "../../support/trust-gateway.ts";

/** Whether a gateway can still believe that it sees the newest state, and what its clock has to do with it. */

const [alice, bob, bot] = [makeSigner(), makeSigner(), makeSigner()];
const json = rootJson({ alice: [alice.publicLine], bob: [bob.publicLine], bot: [bot.publicLine] }, 2);
const withBot = { ...json, roles: { ...json.roles, freshness: { principals: ["bot"], threshold: 1 } } };
const both = { alice, bob };
const { folder, remove } = makeFolder();
afterAll(remove);
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

let repository: MemoryRepository;
let gateways = 0;
const makeGateway = async (root: object = withBot, options: Partial<GatewayOptions> = {}): Promise<TrustGateway> => {
  gateways += 1;
  const own = join(folder, String(gateways));
  mkdirSync(own);
  return await makeTrustGateway({ folder: own, root: repository.writeRoot(root as { root: number }), ...options });
};
const lock = (serial: number): void => {
  repository.writePolicy({ version: 1, allow: { domains: [`n${serial}.test`], ports: [443] } });
  repository.writeLock(serial, { signers: both });
};
const stateOf = async (gateway: TrustGateway): Promise<string> => (await gateway.look()).freshness.state;

beforeEach(() => {
  repository = makeRepository();
});

describe("the role freshness", () => {
  test("prolongs, until the time that it names", async () => {
    const gateway = await makeGateway();
    lock(1);
    repository.writeFresh(1, "2026-11-27T00:00:00Z", { bot });
    expect(await gateway.enforce(repository.commit())).toMatchObject({ code: "approved" });
    expect(await stateOf(gateway)).toBe("FRESH");
    gateway.pass(DAY - 1000);
    expect(await stateOf(gateway)).toBe("FRESH");
    gateway.pass(1000);
    expect(await stateOf(gateway)).toBe("STALE");
    repository.writeFresh(1, "2026-11-28T00:00:00Z", { bot });
    expect(await gateway.enforce(repository.commit())).toMatchObject({ code: "approved" });
    expect(await stateOf(gateway)).toBe("FRESH");
  });
  test("is missed at once when the root names it and nobody vouches", async () => {
    const gateway = await makeGateway();
    lock(1);
    await gateway.enforce(repository.commit());
    expect(await stateOf(gateway)).toBe("STALE");
    gateway.pass(DAY);
    expect(await stateOf(gateway)).toBe("EXPIRED");
  });
  test("nobody watches without the role and without a maximum age", async () => {
    const gateway = await makeGateway(json);
    lock(1);
    await gateway.enforce(repository.commit());
    gateway.pass(1000 * DAY);
    expect(await stateOf(gateway)).toBe("UNWATCHED");
  });
  test("can only prolong: no older statement shortens, and none changes what is enforced", async () => {
    const gateway = await makeGateway();
    lock(1);
    repository.writeFresh(1, "2026-12-01T00:00:00Z", { bot });
    await gateway.enforce(repository.commit());
    repository.writeFresh(1, "2026-11-26T01:00:00Z", { bot });
    await gateway.enforce(repository.commit());
    expect((await gateway.pointers()).verified).toMatchObject({ serial: 1, freshUntil: "2026-12-01T00:00:00Z" });
  });
  test("is bounded by the maximum age of the gateway, whatever a stolen key vouches for", async () => {
    const gateway = await makeGateway(withBot, { trust: { maxAgeS: 7 * 86_400 } });
    lock(1);
    repository.writeFresh(1, "2099-01-01T00:00:00Z", { bot });
    const head = repository.commit();
    await gateway.enforce(head);
    gateway.pass(7 * DAY);
    // The same statement again is no news.
    repository.files.set("README.md", Buffer.from("x"));
    await gateway.enforce(head);
    await gateway.enforce(repository.commit());
    expect(await stateOf(gateway)).toBe("STALE");
  });
  const rows: readonly (readonly [string, () => void, RegExp])[] = [
    [
      "signed by somebody else",
      () => repository.writeFresh(1, "2027-01-01T00:00:00Z", { bot: alice }),
      /1 of 1 approvals .* missing; .*a key of alice/,
    ],
    ["signed by nobody", () => repository.writeFresh(1, "2027-01-01T00:00:00Z", {}), /1 of 1/],
    [
      "for another repository",
      () => repository.writeFresh(1, "2027-01-01T00:00:00Z", { bot }, { repository: "other" }),
      /for the repository other/,
    ],
    [
      "for another branch",
      () => repository.writeFresh(1, "2027-01-01T00:00:00Z", { bot }, { branch: "lab" }),
      /for the branch lab/,
    ],
    [
      "for another group",
      () => repository.writeFresh(1, "2027-01-01T00:00:00Z", { bot }, { group: "lab" }),
      /for the group lab/,
    ],
    [
      "for an older serial",
      () => repository.writeFresh(1, "2027-01-01T00:00:00Z", { bot }, { serial: 4 }),
      /for serial 4, this commit has 5/,
    ],
    [
      "for a newer serial: it is being withheld",
      () => repository.writeFresh(6, "2027-01-01T00:00:00Z", { bot }),
      /serial 6 exists/,
    ],
    ["malformed", () => repository.files.set("clawgress.fresh.json", Buffer.from("{")), /clawgress\.fresh\.json: /],
  ];
  test.each(rows)("does not count when it is %s, and refuses nothing", async (what, tamper, why) => {
    const gateway = await makeGateway();
    lock(5);
    tamper();
    expect(await gateway.enforce(repository.commit())).toMatchObject({ code: "approved" });
    expect((await gateway.pointers()).verified).toMatchObject({ freshUntil: null });
    const event = what.includes("withheld") ? "newer-serial-withheld" : "freshness-ignored";
    expect(gateway.log).toContainEqual(expect.objectContaining({ event, reason: expect.stringMatching(why) }));
  });
  test("its signature approves no policy, and that of a policy is no statement", async () => {
    const gateway = await makeGateway({
      ...withBot,
      roles: { ...withBot.roles, freshness: { principals: ["alice"], threshold: 1 } },
    });
    lock(1);
    repository.writeFresh(1, "2027-01-01T00:00:00Z", {
      alice: { ...alice, sign: (message) => alice.sign(message, "clawgress-policy@v1") },
    });
    await gateway.enforce(repository.commit());
    expect(gateway.log).toContainEqual(expect.objectContaining({ reason: expect.stringMatching(/namespace/) }));
  });
  test("what follows EXPIRED is chosen by the gateway", async () => {
    for (const whenExpired of ["keep", "tighten", "deny-all"] as const) {
      repository = makeRepository();
      const gateway = await makeGateway(withBot, { trust: { whenExpired, graceS: 3600 } });
      lock(1);
      repository.writeFresh(1, "2026-11-26T01:00:00Z", { bot });
      await gateway.enforce(repository.commit());
      gateway.pass(HOUR);
      expect(await gateway.look()).toMatchObject({ freshness: { state: "STALE" }, narrowing: "keep" });
      gateway.pass(HOUR);
      expect(await gateway.look()).toMatchObject({ freshness: { state: "EXPIRED" }, narrowing: whenExpired });
    }
  });
});

describe("the statement", () => {
  const fresh = {
    repository: "egress",
    branch: "main",
    group: "default",
    serial: 7,
    validUntilMs: Date.parse("2026-12-01T00:00:00Z"),
  };
  const text = renderFresh(fresh).toString();
  test("is read as it was written", () => {
    expect(parseFresh(renderFresh(fresh))).toMatchObject({ ok: true, fresh });
  });
  test.each<[string, string]>([
    ["an unknown key", text.replace("{", '{ "policy": 1,')],
    ["a missing key", text.replace(/"serial": 7,/, "")],
    ["a time without a zone", text.replace("00Z", "00")],
    ["a day that does not exist", text.replace("12-01", "13-01")],
    ["serial 0", text.replace(": 7", ": 0")],
    ["a list", "[]"],
  ])("%s is refused", (_what, content) => {
    expect(parseFresh(Buffer.from(content))).toMatchObject({ ok: false });
  });
});

describe("the clock", () => {
  const at = (time: string): number => Date.parse(time);
  test("is believed as long as it does not go back", () => {
    const passedMs = at("2026-11-26T00:00:00Z");
    expect(judgedTime({ passedMs, elapsedMs: 0, wallMs: at("2027-01-01T00:00:00Z") })).toBe(at("2027-01-01T00:00:00Z"));
    expect(judgedTime({ passedMs, elapsedMs: HOUR, wallMs: 0 })).toBe(passedMs + HOUR);
    expect(clockBehindMs({ passedMs, elapsedMs: HOUR, wallMs: passedMs })).toBe(HOUR);
    expect(clockBehindMs({ passedMs, elapsedMs: HOUR, wallMs: passedMs + 2 * HOUR })).toBe(0);
  });
  test("what is remembered as passed grows by at most twice what went by", () => {
    const passedMs = at("2026-11-26T00:00:00Z");
    expect(nextPassed({ passedMs, elapsedMs: HOUR, wallMs: passedMs + HOUR })).toBe(passedMs + HOUR);
    expect(nextPassed({ passedMs, elapsedMs: HOUR, wallMs: at("2036-01-01T00:00:00Z") })).toBe(passedMs + 2 * HOUR);
    expect(nextPassed({ passedMs, elapsedMs: HOUR, wallMs: 0 })).toBe(passedMs + HOUR);
  });

  const fresh = async (): Promise<TrustGateway> => {
    const gateway = await makeGateway(
      {
        ...withBot,
        principals: {
          ...withBot.principals,
          bob: { keys: [{ key: bob.publicLine, expires: "2026-12-01T00:00:00Z" }] },
        },
      },
      { trust: { maxAgeS: 86_400 } },
    );
    lock(1);
    repository.writeFresh(1, "2026-11-30T00:00:00Z", { bot });
    await gateway.enforce(repository.commit());
    expect(await stateOf(gateway)).toBe("FRESH");
    return gateway;
  };
  test("in 1970 after a boot revives no key that has ended, and no freshness", async () => {
    const gateway = await fresh();
    gateway.pass(10 * DAY);
    gateway.restart("1970-01-01T00:00:10Z");
    const verdict = await gateway.look();
    expect(verdict).toMatchObject({ freshness: { state: "EXPIRED" } });
    expect(verdict.clockBehindMs).toBeGreaterThan(50 * 365 * DAY);
    lock(2);
    expect(await gateway.offer(repository.commit())).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(/counts until/),
    });
  });
  test("ten years back, while it runs, changes nothing either", async () => {
    const gateway = await fresh();
    gateway.pass(2 * DAY);
    gateway.setClock("2016-11-28T00:00:00Z");
    expect(await gateway.look()).toMatchObject({ freshness: { state: "EXPIRED" } });
  });
  test("ten years ahead ends keys and freshness only until it is put right", async () => {
    const gateway = await fresh();
    gateway.pass(HOUR);
    gateway.setClock("2036-11-26T00:00:00Z");
    lock(2);
    const head = repository.commit();
    expect(await gateway.offer(head)).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(/first seen at 2036-11-26T00:00:00Z/),
    });
    expect(await stateOf(gateway)).toBe("EXPIRED");
    gateway.setClock("2026-11-26T02:00:00Z");
    expect(await gateway.enforce(head)).toMatchObject({ code: "approved" });
    expect(await stateOf(gateway)).toBe("FRESH");
    gateway.pass(2 * DAY);
    expect(await stateOf(gateway)).not.toBe("FRESH");
  });
  test("a proof that was noted ten years ahead does not hide for ten years that updates are withheld", async () => {
    const gateway = await makeGateway(json, { trust: { maxAgeS: 86_400 } });
    gateway.setClock("2036-11-26T00:00:00Z");
    lock(1);
    await gateway.enforce(repository.commit());
    expect((await gateway.pointers()).verified).toMatchObject({ freshAt: "2036-11-26T00:00:00Z" });
    gateway.setClock("2026-11-26T01:00:00Z");
    expect(await stateOf(gateway)).toBe("FRESH");
    expect((await gateway.pointers()).verified).toMatchObject({ freshAt: "2026-11-26T01:00:00Z" });
    gateway.pass(DAY);
    expect(await stateOf(gateway)).toBe("STALE");
  });
  test("a restart with a clock ten years ahead, again and again, does not become the truth", async () => {
    const gateway = await fresh();
    for (let boots = 0; boots < 50; boots++) {
      gateway.restart("2036-11-26T00:00:00Z");
      gateway.pass(60_000);
    }
    gateway.restart("2026-11-26T03:00:00Z");
    expect(await stateOf(gateway)).toBe("FRESH");
  });
});
