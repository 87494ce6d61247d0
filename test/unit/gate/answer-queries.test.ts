import dnsPacket from "dns-packet";
import { beforeEach, describe, expect, test } from "vitest";
import { portClasses } from "../../../agent/compile/port-classes.ts";
import { type ActivePolicy, indexPolicy } from "../../../agent/gate/active-policy.ts";
import { type AnswerQuery, createAnswerQuery, type GateState } from "../../../agent/gate/answer-queries.ts";
import { createClientTable } from "../../../agent/gate/clients.ts";
import { createHold, type Hold } from "../../../agent/gate/hold.ts";
import type { Refusal } from "../../../agent/gate/judge-query.ts";
import type { PinRequest } from "../../../agent/gate/pin-answer.ts";
import type { PinOutcome } from "../../../agent/gate/pins.ts";
import type { Upstream } from "../../../agent/gate/upstream.ts";
import { buildQuery, type Question } from "../../../agent/gate/wire-query.ts";
import { createHistogram } from "../../../agent/host/histogram.ts";
import { policyOf } from "../../support/compile-samples.ts";
import { surroundings } from "../../support/surroundings.ts";

const CLIENT = "10.0.0.1";

const policyWith = (
  domains: readonly (string | object)[],
  serial = 1,
  probes: { address: string; host: string }[] = [],
  deny: object = {},
  mode = "enforce",
  ips: readonly string[] = [],
): ActivePolicy => {
  const policy = policyOf({
    version: 1,
    mode,
    allow: { domains, ips },
    deny,
    hosts: { special: { sources: ["10.0.0.9"], mode: "enforce", allow: { domains: ["special.test"] } } },
  });
  const release = {
    schema: 1 as const,
    policy,
    groups: { "*": 5, special: 6 },
    classes: portClasses(policy),
    canary: "c",
    blockCanary: "b",
    probes,
  };
  const provenance = { commit: "abcdef0123", serial, repository: "r", approvedBy: [] };
  return indexPolicy(
    { digest: `d${serial}`, folder: "/r", release, provenance },
    surroundings((address) => address === "203.0.113.99"),
  );
};

let state: GateState;
let hold: Hold;
let answer: AnswerQuery;
let asked: Question[];
let askedUnderAudit: Question[];
let pinned: PinRequest[];
let noted: Refusal[];
/** What was let pass because of an audit. */
let audited: Refusal[];
let exceptions: unknown[];
let outcome: PinOutcome;
/** Client → its machine, where that has other addresses too. */
let machineOf: ReadonlyMap<string, string>;
/** Clients and addresses that they were answered with. */
let given: readonly string[];
/** CNAME records that an answer has before its addresses, one leading to the next. */
let aliases: readonly string[];
/** What named says: addresses, null for silence; called at the moment of asking. */
let named: (question: Question) => Promise<readonly string[] | null>;

beforeEach(() => {
  state = {
    policy: policyWith(["api.test", "*.wild.test"]),
    named: { ok: true, detail: "well" },
    isKernelKnown: true,
    counters: new Map(),
    latency: createHistogram(),
    holds: createHistogram(),
  };
  hold = createHold(2);
  [askedUnderAudit, audited, given] = [[], [], []];
  machineOf = new Map();
  [asked, pinned, noted, exceptions, outcome, aliases] = [[], [], [], [], "pinned", []];
  named = async () => ["198.51.100.1"];
  const upstreamTo = (list: Question[]): Upstream => ({
    ask: async (question) => {
      list.push(question);
      const addresses = await named(question);
      if (addresses === null) return null;
      const query = dnsPacket.decode(buildQuery(1, question));
      const chain = [query.questions?.[0]?.name ?? "", ...aliases];
      return dnsPacket.encode({
        type: "response",
        id: 1,
        flags: dnsPacket.AUTHENTIC_DATA,
        questions: query.questions ?? [],
        answers: [
          ...aliases.map((data, index) => ({ type: "CNAME", name: chain[index] ?? "", ttl: 60, data }) as const),
          ...addresses.map((data) => ({ type: "A", name: chain.at(-1) ?? "", ttl: 60, data }) as const),
        ],
      });
    },
    inFlight: () => 0,
    close: () => {},
  });
  answer = createAnswerQuery({
    state,
    hold,
    nowS: () => 1000,
    onError: (error) => exceptions.push(error),
    clients: createClientTable({ maxQueriesPerS: 20, maxNamesPerClient: 2 }),
    machines: {
      of: (client) => machineOf.get(client) ?? client,
      accountOf: (client) => machineOf.get(client) ?? client,
      addressesOf: (client) => [client],
    },
    noteQuery: () => {},
    noteRefusal: (refusal, _from, _policy, verdict) => void (verdict === "would-deny" ? audited : noted).push(refusal),
    pins: {
      namesOf: (client, _group, address) => given.filter((pair) => pair === `${client} ${address}`),
      pin: async (request) => {
        pinned.push(request);
        return outcome;
      },
    },
    upstream: upstreamTo(asked),
    auditUpstream: upstreamTo(askedUnderAudit),
  });
});

const ask = async (
  name: string,
  type = "A",
  client = CLIENT,
): Promise<ReturnType<typeof dnsPacket.decode> & { rcode: string }> => {
  const message = dnsPacket.encode({ type: "query", id: 99, questions: [{ type: type as "A", name }] });
  const reply = await answer(message, client, "udp");
  if (reply === null) throw new Error("no answer");
  return dnsPacket.decode(reply) as ReturnType<typeof dnsPacket.decode> & { rcode: string };
};

describe("before anybody is asked", () => {
  test.each([
    ["an allowed name", "api.test", "A", "NOERROR", 1],
    ["a denied name", "x.test", "A", "NXDOMAIN", 0],
    ["a denied name of a type that is never answered", "x.test", "AXFR", "NXDOMAIN", 0],
    ["an allowed name of such a type", "api.test", "AXFR", "REFUSED", 0],
    ["HTTPS of an allowed name", "api.test", "UNKNOWN_65", "NOERROR", 0],
  ])("%s: %s %s is %s", async (_what, name, type, code, questions) => {
    const decoded = await ask(name, type);
    expect(decoded.rcode).toBe(code);
    expect(asked).toHaveLength(questions);
  });

  test.each<[string, (now: GateState) => void]>([
    ["named does not enforce", (now) => Object.assign(now, { named: { ok: false, detail: "no" } })],
    ["the kernel is not known", (now) => Object.assign(now, { isKernelKnown: false })],
  ])("while %s, allowed names fail and denied ones are denied", async (_what, change) => {
    change(state);
    expect((await ask("api.test")).rcode).toBe("SERVFAIL");
    expect((await ask("x.test")).rcode).toBe("NXDOMAIN");
    expect(asked).toEqual([]);
    expect(noted.map(({ reason }) => reason)).toEqual(["not-ready", "dns-not-allowed"]);
  });

  test("without a policy everything is denied", async () => {
    state.policy = null;
    expect((await ask("api.test")).rcode).toBe("NXDOMAIN");
  });

  test("where there are hosts, a link-local address is nobody: a host would have names looked up that it may not ask for", async () => {
    expect((await ask("api.test", "A", "fe80::1")).rcode).toBe("REFUSED");
    expect(asked).toEqual([]);
    const policy = policyWith(["api.test"]);
    state.policy = { ...policy, release: { ...policy.release, policy: { ...policy.release.policy, hosts: [] } } };
    expect((await ask("api.test", "A", "fe80::1")).rcode).toBe("NOERROR");
  });

  test("a probe's address speaks as its host", async () => {
    state.policy = policyWith(["api.test"], 2, [{ address: "192.0.0.3", host: "special" }]);
    expect((await ask("special.test", "A", "192.0.0.3")).rcode).toBe("NOERROR");
    expect((await ask("api.test", "A", "192.0.0.3")).rcode).toBe("NXDOMAIN");
    expect(pinned[0]?.access).toMatchObject({ groupMark: 6, groupName: "special" });
  });

  test("queries and names under a wildcard are bounded for each client", async () => {
    for (const name of ["a.wild.test", "b.wild.test", "a.wild.test"]) expect((await ask(name)).rcode).toBe("NOERROR");
    expect((await ask("c.wild.test")).rcode).toBe("SERVFAIL");
    expect((await ask("api.test")).rcode).toBe("NOERROR");
    for (let index = 0; index < 15; index++) await ask("api.test");
    expect((await ask("api.test")).rcode).toBe("SERVFAIL");
    expect((await ask("api.test", "A", "10.0.0.2")).rcode).toBe("NOERROR");
    expect(noted.map(({ reason }) => reason)).toEqual(["dns-rate", "dns-rate"]);
  });

  test("another address of the same machine gives it no more of either", async () => {
    machineOf = new Map([CLIENT, "10.0.0.2"].map((client) => [client, "02aabbccddee"]));
    for (const name of ["a.wild.test", "b.wild.test"]) expect((await ask(name)).rcode).toBe("NOERROR");
    expect((await ask("c.wild.test", "A", "10.0.0.2")).rcode).toBe("SERVFAIL");
    expect((await ask("c.wild.test", "A", "10.0.0.3")).rcode).toBe("NOERROR");
    for (let index = 0; index < 17; index++) await ask("api.test");
    expect((await ask("api.test", "A", "10.0.0.2")).rcode).toBe("SERVFAIL");
  });
});

describe("the name of an address", () => {
  const reverse4 = "1.100.51.198.in-addr.arpa";
  const reverse6 = `${"1.0.0.0.".repeat(1)}${"0.0.0.0.".repeat(5)}8.b.d.0.1.0.0.2.ip6.arpa`;

  test.each([
    [reverse4, `${CLIENT} 198.51.100.1`],
    [reverse6, `${CLIENT} 2001:db8::1`],
  ])("%s is asked for a client that was given it, and nobody else", async (name, pair) => {
    given = [pair];
    await ask(name, "PTR");
    expect(asked).toHaveLength(1);
    expect(noted).toEqual([]);
    expect((await ask(name, "PTR", "10.0.0.2")).rcode).toBe("NXDOMAIN");
    expect(asked).toHaveLength(1);
    expect(noted.map(({ reason }) => reason)).toEqual(["dns-not-allowed"]);
  });

  test("is asked for a client whose networks cover it, unless deny does", async () => {
    const networks = (deny: object): ActivePolicy =>
      policyWith(["api.test"], 3, [], deny, "enforce", ["198.51.100.0/24"]);
    state.policy = networks({});
    await ask(reverse4, "PTR");
    expect(asked).toHaveLength(1);
    for (const deny of [{ ips: ["198.51.100.1"] }, { domains: ["*.in-addr.arpa"] }]) {
      state.policy = networks(deny);
      expect((await ask(reverse4, "PTR")).rcode).toBe("NXDOMAIN");
    }
    expect(asked).toHaveLength(1);
  });

  test.each([
    ["another type", reverse4, "TXT"],
    ["a part of an address", "100.51.198.in-addr.arpa", "PTR"],
    ["more than an address", `secret.${reverse4}`, "PTR"],
    ["a number that is none", "01.100.51.198.in-addr.arpa", "PTR"],
    ["a number that is too large", "256.100.51.198.in-addr.arpa", "PTR"],
    ["another tree", "1.100.51.198.in-addr.test", "PTR"],
  ])("%s is denied without a question: %s %s", async (_what, name, type) => {
    given = [`${CLIENT} 198.51.100.1`];
    expect((await ask(name, type)).rcode).toBe("NXDOMAIN");
    expect(asked).toEqual([]);
  });
});

describe("after named has answered", () => {
  test.each(["10.0.0.1", "127.0.0.1", "169.254.169.254", "203.0.113.99"])(
    "%s among the addresses refuses them all",
    async (bad) => {
      named = async () => ["198.51.100.1", bad];
      expect((await ask("api.test")).rcode).toBe("NXDOMAIN");
      expect(pinned).toEqual([]);
      expect(noted.map(({ reason }) => reason)).toEqual(["private-answer"]);
    },
  );

  test.each([
    ["198.51.100.1", "10.0.0.2", "10.0.0.1", "10.9.0.1"],
    ["10.9.0.1", "10.0.0.1", "10.0.0.2", "198.51.100.1"],
  ])("which address is told of does not depend on their order: %s, …", async (...addresses) => {
    state.policy = policyWith(["api.test"], 1, [], { ips: ["10.9.0.0/16"] });
    named = async () => addresses;
    expect((await ask("api.test")).rcode).toBe("NXDOMAIN");
    expect(noted.map(({ reason, text }) => [reason, text])).toEqual([
      ["private-answer", expect.stringContaining("10.0.0.1,")],
    ]);
  });

  test("a private address is answered to the names whose answers hold it, and metadata never", async () => {
    const answers = ["10.0.0.0/8", "100.64.0.0/10"];
    state.policy = policyWith([{ domain: "in.test", answers, owner: "team-a", label: "intranet" }, "out.test"]);
    named = async () => ["10.1.2.3"];
    expect((await ask("in.test")).rcode).toBe("NOERROR");
    expect(pinned.map(({ addresses }) => addresses.map(({ address }) => address))).toEqual([["10.1.2.3"]]);
    expect((await ask("out.test")).rcode).toBe("NXDOMAIN");
    expect((await ask("in.test", "A", "10.0.0.9")).rcode).toBe("NXDOMAIN");
    for (const bad of ["100.100.100.200", "192.168.1.1", "169.254.169.254"]) {
      named = async () => ["10.1.2.3", bad];
      expect((await ask("in.test")).rcode).toBe("NXDOMAIN");
    }
    expect(pinned).toHaveLength(1);
    expect(noted.at(-1)).toMatchObject({
      reason: "private-answer",
      nearRule: { label: "intranet", notes: { owner: "team-a" } },
    });
  });

  test.each([
    ["a denied name under an allowed wildcard", "evil.wild.test", "198.51.100.1", 0],
    ["an address in a denied network", "api.test", "198.51.100.77", 1],
    ["an address in a denied network among others", "x.wild.test", "198.51.100.77", 1],
  ])("%s is denied: %s", async (_what, name, address, questions) => {
    const deny = { domains: ["evil.wild.test"], ips: [{ network: "198.51.100.64/26", ticket: "T-9" }] };
    state.policy = policyWith(["api.test", "*.wild.test"], 3, [], deny);
    named = async () => ["198.51.100.1", address];
    expect((await ask(name)).rcode).toBe("NXDOMAIN");
    expect(asked).toHaveLength(questions);
    expect(pinned).toEqual([]);
    expect(noted).toMatchObject([{ reason: "denied-explicit", nearRule: { place: { file: "policy.json" } } }]);
    named = async () => ["198.51.100.1"];
    expect((await ask("api.test")).rcode).toBe("NOERROR");
  });

  test("an alias of a denied name is denied, and an alias of an unlisted one is followed", async () => {
    state.policy = policyWith(["api.test"], 3, [], { domains: ["*.evil.test"] });
    aliases = ["cdn.test", "edge.evil.test"];
    expect((await ask("api.test")).rcode).toBe("NXDOMAIN");
    expect(noted.at(-1)).toMatchObject({ reason: "denied-explicit" });
    expect(pinned).toEqual([]);
    aliases = ["cdn.test", "evil.test"];
    expect((await ask("api.test")).rcode).toBe("NOERROR");
  });

  describe("under audit", () => {
    const deny = { domains: ["evil.test"], ips: ["198.51.100.64/26"] };
    beforeEach(() => {
      state.policy = policyWith(["api.test", "*.wild.test"], 3, [], deny, "audit");
    });
    const reasonsOf = (list: readonly Refusal[]): readonly string[] => list.map(({ reason }) => reason);

    test("a denied name is asked past the zones, pinned on every port, and recorded as would-deny", async () => {
      for (const name of ["other.test", "evil.test"]) expect((await ask(name)).rcode).toBe("NOERROR");
      expect(asked).toEqual([]);
      expect(askedUnderAudit).toHaveLength(2);
      expect(pinned.map(({ name }) => name)).toEqual(["other.test", "evil.test"]);
      const { classes } = pinned[0]?.access ?? {};
      expect(classes?.map(({ range }) => range)).toEqual(
        portClasses(state.policy?.release.policy as never).map(({ protocol }) => ({
          protocol,
          first: 1,
          last: 65_535,
        })),
      );
      expect(reasonsOf(audited)).toEqual(["dns-not-allowed", "denied-explicit"]);
      expect(noted).toEqual([]);
    });

    test("an allowed name is asked as ever; denied addresses and aliases of it are recorded", async () => {
      named = async () => ["198.51.100.77"];
      expect((await ask("api.test")).rcode).toBe("NOERROR");
      aliases = ["evil.test"];
      named = async () => ["198.51.100.1"];
      expect((await ask("api.test")).rcode).toBe("NOERROR");
      expect(askedUnderAudit).toEqual([]);
      expect(reasonsOf(audited)).toEqual(["denied-explicit", "denied-explicit"]);
      expect(pinned).toHaveLength(2);
    });

    test.each(["10.0.0.1", "127.0.0.1", "169.254.169.254", "203.0.113.99"])("%s stays closed", async (bad) => {
      named = async () => ["198.51.100.77", bad];
      for (const name of ["api.test", "other.test"]) expect((await ask(name)).rcode).toBe("NXDOMAIN");
      expect(pinned).toEqual([]);
      expect(reasonsOf(noted)).toEqual(["private-answer", "private-answer"]);
    });

    test("a private address stays closed when it is denied as well, and when a network allows it besides", async () => {
      named = async () => ["10.1.0.1"];
      for (const ips of [[], ["10.1.0.0/16"]]) {
        state.policy = policyWith(["api.test"], 3, [], { ips: ["10.1.0.0/16"] }, "audit", ips);
        for (const name of ["api.test", "other.test"]) expect((await ask(name)).rcode).toBe("NXDOMAIN");
      }
      expect(pinned).toEqual([]);
      expect(new Set(reasonsOf(noted))).toEqual(new Set(["denied-explicit"]));
    });

    test("names that nobody has, and clients that are not under audit, are denied", async () => {
      expect((await ask("denied.canary.clawgress.invalid")).rcode).toBe("NXDOMAIN");
      expect((await ask("other.test", "A", "10.0.0.9")).rcode).toBe("NXDOMAIN");
      expect(askedUnderAudit).toEqual([]);
      expect(reasonsOf(noted)).toEqual(["dns-not-allowed", "dns-not-allowed"]);
    });

    test("names that nobody listed are bounded for each client", async () => {
      for (const name of ["n1.test", "n2.test"]) expect((await ask(name)).rcode).toBe("NOERROR");
      expect((await ask("n3.test")).rcode).toBe("SERVFAIL");
      expect((await ask("api.test")).rcode).toBe("NOERROR");
    });
  });

  test("an address inside a translated one is what is denied", async () => {
    state.policy = policyWith(["api.test"], 3, [], { ips: ["198.51.100.64/26"] });
    const view = state.policy;
    const decision = view.decider.decideName(view.clientOf(CLIENT), "api.test");
    if (decision.verdict === "deny") throw new Error("denied");
    for (const address of ["64:ff9b::c633:6440", "2002:c633:6440::1"]) {
      expect(view.refuseAnswer(decision, address)?.reason).toBe("denied-explicit");
    }
    expect(view.refuseAnswer(decision, "64:ff9b::c633:6401")).toBeNull();
  });

  test.each<[PinOutcome, string]>([
    ["failed", "SERVFAIL"],
    ["over-bound", "SERVFAIL"],
    ["pinned", "NOERROR"],
  ])("the answer waits for its pins: %s is %s", async (how, code) => {
    outcome = how;
    const decoded = await ask("api.test");
    expect(decoded.rcode).toBe(code);
    expect(decoded.answers).toHaveLength(how === "pinned" ? 1 : 0);
    expect(pinned).toHaveLength(1);
  });

  test("silence is SERVFAIL and opens nothing", async () => {
    named = async () => null;
    expect((await ask("api.test")).rcode).toBe("SERVFAIL");
    expect(pinned).toEqual([]);
  });

  test("equal questions under way are asked once, and each client gets its own answer and pins", async () => {
    const messages = await Promise.all([ask("api.test"), ask("API.test"), ask("api.test", "A", "10.0.0.2")]);
    expect(asked).toHaveLength(1);
    expect(messages.map(({ questions }) => questions?.[0]?.name)).toEqual(["api.test", "API.test", "api.test"]);
    expect(pinned.map(({ client }) => client)).toEqual([CLIENT, CLIENT, "10.0.0.2"]);
  });

  test("under another policy than it was asked, the query is judged again", async () => {
    named = async () => {
      state.policy = policyWith(["other.test"], 2);
      return ["198.51.100.1"];
    };
    expect((await ask("api.test")).rcode).toBe("NXDOMAIN");
    expect(pinned).toEqual([]);
  });
});

test("an exception costs its query alone", async () => {
  named = async () => {
    throw new Error("a bug");
  };
  await expect(ask("api.test")).rejects.toThrow("no answer");
  expect(exceptions).toHaveLength(1);
  expect((await ask("x.test")).rcode).toBe("NXDOMAIN");
  named = async () => ["198.51.100.1"];
  expect((await ask("api.test")).rcode).toBe("NOERROR");
});

describe("held", () => {
  test("queries wait, too many fail, and what waited is judged by the policy after it", async () => {
    hold.begin(5000);
    const waiting = [ask("api.test"), ask("other.test")];
    expect((await ask("api.test")).rcode).toBe("SERVFAIL");
    expect(asked).toEqual([]);
    state.policy = policyWith(["other.test"], 2);
    hold.end();
    expect((await Promise.all(waiting)).map(({ rcode }) => rcode)).toEqual(["NXDOMAIN", "NOERROR"]);
  });

  test("an answer that comes meanwhile opens nothing before the end", async () => {
    named = async () => {
      hold.begin(5000);
      return ["198.51.100.1"];
    };
    const waiting = ask("api.test");
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(pinned).toEqual([]);
    hold.end();
    expect((await waiting).rcode).toBe("NOERROR");
    expect(pinned).toHaveLength(1);
  });

  test("it ends by itself", async () => {
    hold.begin(20);
    expect((await ask("api.test")).rcode).toBe("NOERROR");
    expect(hold.isHeld).toBe(false);
  });
});
