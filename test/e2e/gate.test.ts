import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { CLIENT_6, CLIENT_A, CLIENT_B, type GateLab, startGateLab } from "../support/gate-lab.ts";

/** An address in nobody's network: queries to it are redirected to the gate. */
const RESOLVER = "@192.0.2.53";
const RESOLVER_6 = "@2001:db8::53";

const names = [
  "api.test",
  "short.test",
  "www.test",
  "shared-a.test",
  "shared-b.test",
  "private.test",
  "covered.test",
  "loop.test",
  "meta.test",
  "mixed.test",
  "nat64.test",
  "mapped.test",
  "own.test",
  "big.test",
  "*.wild.test",
];
const policy = {
  version: 1,
  allow: { domains: names, ips: ["10.7.0.0/24"], ports: [443] },
  hosts: { b: { sources: [CLIENT_B], allow: { domains: ["short.test"], ports: [443] } } },
};

let lab: GateLab;
let serial = 1;

beforeAll(async () => {
  lab = await startGateLab();
  await lab.startGate();
  await lab.apply(policy, serial);
}, 120_000);

afterAll(async () => {
  await lab?.stop();
});

beforeEach(async () => {
  await lab.upstreamQueries();
});

const addressesOf = async (): Promise<readonly string[]> => {
  const pins = await lab.pins();
  return pins.map((pin) => pin.split(" ").slice(0, 2).join(" "));
};

describe("an allowed name", () => {
  test("is answered, and its addresses are open to that client alone", async () => {
    const answer = await lab.dig([RESOLVER, "+short", "api.test"]);
    expect(answer.trim().split("\n").sort()).toEqual(["198.51.100.10", "198.51.100.11"]);
    const opened = await addressesOf();
    expect(opened).toContain(`${CLIENT_A} 198.51.100.10`);
    expect(opened).toContain(`${CLIENT_A} 198.51.100.11`);
    expect(opened.filter((pin) => pin.startsWith(CLIENT_B))).toEqual([]);
  });

  test("is answered over IPv6, from the address that was asked", async () => {
    expect((await lab.dig([RESOLVER_6, "+short", "api.test", "AAAA"], CLIENT_6)).trim()).toBe("2001:db8:10::1");
    expect(await addressesOf()).toContain(`${CLIENT_6} 2001:db8:10::1`);
    expect((await lab.dig([RESOLVER_6, "+short", "+tcp", "api.test", "AAAA"], CLIENT_6)).trim()).toBe("2001:db8:10::1");
  });

  test("keeps its spelling, and the times to live are at most 300 s", async () => {
    const answer = await lab.dig([RESOLVER, "+noall", "+answer", "+question", "aPi.tEsT"]);
    expect(answer).toMatch(/;aPi\.tEsT\./);
    expect(answer).toMatch(/aPi\.tEsT\.\s+(?:300|2\d\d)\s+IN\s+A/);
  });

  test.each([["+norecurse"], ["+dnssec"], ["+cdflag"], ["+tcp"], ["+subnet=203.0.113.0/24"], ["+noedns"]])(
    "is answered alike with %s",
    async (option) => {
      expect(await lab.dig([RESOLVER, "+short", option, "short.test"])).toContain("198.51.100.12");
    },
  );

  test("opens the end of its chain of aliases, not the aliases", async () => {
    expect(await lab.dig([RESOLVER, "+short", "www.test"])).toContain("198.51.100.20");
    expect(await addressesOf()).toContain(`${CLIENT_A} 198.51.100.20`);
    expect(await lab.dig([RESOLVER, "edge.cdn.test"])).toContain("NXDOMAIN");
  });

  test("has no HTTPS record, and named is not asked for it", async () => {
    const answer = await lab.dig([RESOLVER, "api.test", "HTTPS"]);
    expect(answer).toContain("status: NOERROR");
    expect(answer).toContain("ANSWER: 0");
    expect(await lab.upstreamQueries()).toEqual([]);
  });

  test("with more addresses than fit is cut over UDP and whole over TCP, and all of them are open", async () => {
    expect(await lab.dig([RESOLVER, "+ignore", "big.test"])).toMatch(/flags: [^;]*\btc\b/);
    const answer = await lab.dig([RESOLVER, "+short", "+tcp", "big.test"]);
    expect(answer.trim().split("\n")).toHaveLength(90);
    const opened = (await addressesOf()).filter((pin) => pin.startsWith(`${CLIENT_A} 203.0.113.`));
    expect(opened).toHaveLength(90);
  });
});

describe("a denied name", () => {
  const types = ["A", "AAAA", "TXT", "NULL", "MX", "ANY", "HTTPS", "SVCB", "SRV", "NS", "SOA", "CNAME", "PTR", "DS"];
  const allTypes = [...types, "TYPE65400"];

  test("reaches nobody upstream, with any type and any flags", async () => {
    const server = RESOLVER;
    for (const option of ["+rec", "+dnssec", "+cdflag", "+norecurse", "+tcp"]) {
      const questions = allTypes.flatMap((type) => ["secret.test", type]);
      // One dig asks all types: every name is followed by its type.
      const answers = await lab.dig([server, option, ...questions]);
      expect(answers.match(/status: NXDOMAIN/g), option).toHaveLength(allTypes.length);
    }
    expect(await lab.upstreamQueries()).toEqual([]);
    // The positive control: an allowed name that nobody asked yet does arrive there.
    await lab.dig([server, "x.wild.test"]);
    expect(await lab.upstreamQueries()).toContain("x.wild.test A");
  });

  test("tells the client why, and the records too", async () => {
    const answer = await lab.dig([RESOLVER, "deep.evil.test"], CLIENT_B);
    expect(answer).toMatch(/EDE: 15 \(Blocked\).*deep\.evil\.test is not allowed by policy ccccccc \(serial \d+\)/);
    const records = await lab.denials();
    expect(records).toContainEqual(
      expect.objectContaining({
        plane: "dns",
        reason: "dns-not-allowed",
        client: CLIENT_B,
        host: "b",
        group: "b",
        name: "deep.evil.test",
        type: "A",
        action: "nxdomain",
      }),
    );
  });

  test.each([
    ["xapi.test", "NXDOMAIN"],
    ["api.test.evil.test", "NXDOMAIN"],
    ["wild.test", "NXDOMAIN"],
    ["api\\.test", "NXDOMAIN"],
    ["a\\000pi.test", "NXDOMAIN"],
    [".", "REFUSED"],
  ])("%s is %s", async (name, status) => {
    expect(await lab.dig([RESOLVER, name])).toContain(`status: ${status}`);
    expect(await lab.upstreamQueries()).toEqual([]);
  });

  test.each([
    [["-c", "CH", "version.bind", "TXT"], "REFUSED"],
    [["-c", "HS", "api.test", "A"], "REFUSED"],
    [["api.test", "ANY"], "REFUSED"],
    [["+tcp", "api.test", "AXFR"], "Transfer failed"],
    [["+opcode=NOTIFY", "api.test"], "NOTIMP"],
    [["+edns=5", "+noednsneg", "api.test"], "BADVERS"],
  ])("%j is refused", async (args, outcome) => {
    expect(await lab.dig([RESOLVER, ...args])).toContain(outcome);
    expect(await lab.upstreamQueries()).toEqual([]);
  });
});

describe("an answer with addresses that no name may open", () => {
  test.each([
    ["private.test", "A"],
    ["loop.test", "A"],
    ["meta.test", "A"],
    ["mixed.test", "A"],
    ["own.test", "A"],
    ["nat64.test", "AAAA"],
    ["mapped.test", "AAAA"],
  ])("is refused as a whole: %s %s", async (name, type) => {
    const before = (await lab.pins()).length;
    const answer = await lab.dig([RESOLVER, name, type]);
    expect(answer).toContain("status: NXDOMAIN");
    expect(answer).toContain("EDE: 15");
    expect((await lab.pins()).length).toBe(before);
    expect((await lab.denials()).at(-1)).toMatchObject({ reason: "private-answer", name });
  });

  test("is given to a client whose networks cover it", async () => {
    expect((await lab.dig([RESOLVER, "+short", "covered.test"])).trim()).toBe("10.7.0.1");
  });
});

describe("a new policy", () => {
  test("takes back pins and grants of the removed name alone, and a shared address goes to the other name", async () => {
    for (const name of ["shared-a.test", "shared-b.test", "short.test"]) await lab.dig([RESOLVER, name]);
    const grantOf = async (address: string): Promise<string | undefined> =>
      (await lab.pins()).find((pin) => pin.startsWith(`${CLIENT_A} ${address} `))?.split(" ")[3];
    const [sharedBefore, kept] = [await grantOf("198.51.100.30"), await grantOf("198.51.100.12")];
    expect(sharedBefore).toBeDefined();
    const rest = names.filter((name) => name !== "shared-b.test");
    await lab.apply({ ...policy, allow: { ...policy.allow, domains: rest } }, ++serial);
    const sharedAfter = await grantOf("198.51.100.30");
    expect(sharedAfter).toBeDefined();
    expect(sharedAfter).not.toBe(sharedBefore);
    expect(await grantOf("198.51.100.12")).toBe(kept);
    const live = (await lab.live()).map((pair) => pair.split(" ")[1]);
    expect(live).not.toContain(sharedBefore);
    expect(live).toContain(sharedAfter);
    expect(live).toContain(kept);
    expect(await lab.dig([RESOLVER, "shared-b.test"])).toContain("NXDOMAIN");
    await lab.apply(policy, ++serial);
  });

  test("pins kept names under the classes of its ports", async () => {
    await lab.dig([RESOLVER, "short.test"]);
    const count = async (): Promise<number> =>
      (await lab.pins()).filter((pin) => pin.startsWith(`${CLIENT_A} 198.51.100.12 `)).length;
    expect(await count()).toBe(1);
    await lab.apply({ ...policy, allow: { ...policy.allow, ports: [80, 443] } }, ++serial);
    expect(await count()).toBe(2);
    await lab.apply(policy, ++serial);
    expect(await count()).toBe(1);
  });
});

describe("a gate that fails or waits", () => {
  test("killed and started again, it knows its pins, and can still take them back", async () => {
    await lab.dig([RESOLVER, "short.test"]);
    await lab.dig([RESOLVER, "api.test"]);
    const before = [...(await lab.pins())].sort();
    // A pair that no journal knows: nobody could ever take it back by a policy.
    await lab.onGateway(["nft", "add", "element", "inet", "clawgress", "live", "{ 77 . 65599 }"]);
    await lab.killGate();
    expect(await lab.dig([RESOLVER, "+time=1", "short.test"])).not.toContain("NOERROR");
    await lab.startGate();
    expect([...(await lab.pins())].sort()).toEqual(before);
    expect(await lab.live()).not.toContain("77 65599");
    expect((await lab.control.status()).pins).toBe(before.length);
    const rest = names.filter((name) => name !== "api.test");
    await lab.apply({ ...policy, allow: { ...policy.allow, domains: rest } }, ++serial);
    const opened = await addressesOf();
    expect(opened).not.toContain(`${CLIENT_A} 198.51.100.10`);
    expect(opened).toContain(`${CLIENT_A} 198.51.100.12`);
    await lab.apply(policy, ++serial);
  });

  test("held, it loses no query: the answer comes after the hold", async () => {
    await lab.control.hold(5000);
    let isAnswered = false;
    const answers = Promise.all(
      ["short.test", "api.test", "secret.test"].map((name) => lab.dig([RESOLVER, name])),
    ).then((all) => {
      isAnswered = true;
      return all;
    });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(isAnswered).toBe(false);
    await lab.control.resume();
    const all = await answers;
    expect(all.map((answer) => /status: (\w+)/.exec(answer)?.[1])).toEqual(["NOERROR", "NOERROR", "NXDOMAIN"]);
  });

  test("held and forgotten, it goes on by itself", async () => {
    await lab.control.hold(300);
    expect((await lab.control.status()).isHeld).toBe(true);
    expect(await lab.dig([RESOLVER, "+short", "short.test"])).toContain("198.51.100.12");
  });

  test("withholds the answer when the kernel does not take the pin, and recovers", async () => {
    await lab.onGateway(["nft", "delete", "table", "inet", "clawgress"]);
    expect(await lab.dig([RESOLVER, "y.wild.test"])).toContain("status: SERVFAIL");
    expect(await lab.dig([RESOLVER, "secret.test"])).toContain("status: NXDOMAIN");
    await lab.apply(policy, ++serial);
    expect(await lab.dig([RESOLVER, "+short", "y.wild.test"])).toContain("198.51.100.41");
    expect(await addressesOf()).toContain(`${CLIENT_A} 198.51.100.41`);
  });

  test("withdrawn, it denies everything and takes back what it opened, also after a restart", async () => {
    await lab.dig([RESOLVER, "short.test"]);
    await lab.control.withdraw();
    await lab.control.withdraw();
    expect(await lab.dig([RESOLVER, "short.test"])).toContain("status: NXDOMAIN");
    expect(await addressesOf()).toEqual([]);
    expect(await lab.control.status()).toMatchObject({ ready: false, digest: null, pins: 0 });
    await lab.killGate();
    await lab.startGate();
    expect(await lab.dig([RESOLVER, "short.test"])).toContain("status: NXDOMAIN");
    await lab.apply(policy, ++serial);
    expect(await lab.dig([RESOLVER, "+short", "short.test"])).toContain("198.51.100.12");
  });

  test("GE7: answers nobody while named does not enforce, and denies all the same", async () => {
    const named = join(lab.folder, "run", "named");
    const [allowZone, denyZone] = await Promise.all(
      ["allow.zone", "deny.zone"].map((file) => readFile(join(named, file))),
    );
    const rndc = ["rndc", "-k", join(named, "rndc.key"), "-s", "127.0.0.1", "-p", "5302"] as const;
    const isReady = async (wanted: boolean): Promise<void> => {
      await vi.waitFor(async () => expect((await lab.control.status()).ready).toBe(wanted), {
        timeout: 15_000,
        interval: 50,
      });
    };
    await writeFile(join(named, "deny.zone"), String(denyZone).replace(/^\*.*$/m, ""));
    await lab.onGateway([...rndc, "reload"]);
    await isReady(false);
    expect(await lab.dig([RESOLVER, "short.test"])).toMatch(/status: SERVFAIL[\s\S]*EDE: 14/);
    expect(await lab.dig([RESOLVER, "secret.test"])).toContain("status: NXDOMAIN");
    expect((await lab.control.status()).named.detail).toContain("does not deny");
    await writeFile(join(named, "deny.zone"), denyZone ?? "");
    await writeFile(join(named, "allow.zone"), String(allowZone).replace(/TXT "[0-9a-f]+"/, 'TXT "other"'));
    await lab.onGateway([...rndc, "reload"]);
    await vi.waitFor(
      async () => expect((await lab.control.status()).named.detail).toContain("another release"),
      15_000,
    );
    await lab.apply(policy, ++serial);
    expect(await lab.dig([RESOLVER, "short.test"])).toContain("status: NOERROR");
  });

  test("told to end, it ends in order, and its pins stay", async () => {
    await lab.dig([RESOLVER, "short.test"]);
    expect(await lab.stopGate()).toBe(0);
    expect(await addressesOf()).toContain(`${CLIENT_A} 198.51.100.12`);
    await lab.startGate();
    expect(await lab.dig([RESOLVER, "+short", "short.test"])).toContain("198.51.100.12");
  });

  test("runs without privileges but the one it needs, in little memory", async () => {
    const status = await lab.control.status();
    const capabilities = await lab.onGateway(["grep", "CapEff", `/proc/${status.pid}/status`]);
    expect(capabilities).toContain("0000000000001000");
    expect(status.residentBytes).toBeLessThan(90 * 1024 * 1024);
  });
});
