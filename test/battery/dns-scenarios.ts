import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { sleepMs } from "../../agent/host/clock.ts";
import { hostileNames } from "../lab/addresses.ts";
import type { DnsQuestion, DnsResult } from "../lab/client.ts";
import { eventually } from "../support/eventually.ts";
import { killForGood, startAgain, toldByStatus } from "./kill-part.ts";
import { ipPacket, protocols, udpDatagram } from "./packets.ts";
import { type Attempt, each, gainedIf, insist, inVain, type Scenario, tried, triedName } from "./scenario.ts";
import type { Scene, StageOptions } from "./scene.ts";

/** WD…: names, and what can be carried in them. */

const hostile = Object.keys(hostileNames);
/** So low that a tunnel under an allowed wildcard is cut within a test. */
const MAX_NAMES = 64;
/** Of a client and reason so many records are written at once, and then one a second; the rest is counted. */
const RECORDS_AT_ONCE = 10;
const RECORD_EVERY_MS = 1_050;

const policyWith = (...more: readonly string[]) => ({
  version: 1,
  allow: {
    domains: [
      "a.allowed.test",
      "www.allowed.test",
      "many.allowed.test",
      "*.wild.test",
      "www.chain.test",
      "*.moving.test",
      ...hostile,
      ...more,
    ],
    ports: [80, 443],
  },
});

export const dnsStage: StageOptions = async () => ({
  policy: policyWith(),
  config: { gate: { maxNamesPerClient: MAX_NAMES } },
});

const ask = (scene: Scene, name: string, question: DnsQuestion = {}): Promise<DnsResult> =>
  scene.client.resolve(name, { server: scene.by.resolver, ...question });

/** An allowed name that nobody asked before: the question goes all the way. */
const askAllowed = async (scene: Scene): Promise<void> => {
  const name = `${scene.fresh()}.wild.test`;
  insist(name, await ask(scene, name, { type: scene.family === 4 ? "A" : "AAAA" }));
  const arrived = await scene.lab.queries({ name });
  if (arrived.length === 0) throw new Error(`${name} is allowed, but was not asked on the internet side`);
};

const connectAllowed = async (scene: Scene): Promise<void> => {
  insist("a.allowed.test:443", await scene.client.connect("a.allowed.test", 443, scene.by));
};

const addressOf = (scene: Scene, name: "git.lab.test" | "e9.cdn2-unlisted.test"): string =>
  scene.lab.names[name][`v${scene.family}`][0] ?? "";

const addressType = ({ family }: Scene): "A" | "AAAA" => (family === 4 ? "A" : "AAAA");

/** Asks with dig, which can say more than a question of ours; a gain is any answer with data. */
async function dig(scene: Scene, args: readonly string[]): Promise<Attempt> {
  const startedMs = performance.now();
  const argv = ["dig", `@${scene.by.resolver}`, "+tries=1", "+time=2", ...args];
  const { stdout } = await scene.lab.exec("agent1", argv);
  const isAnswered = /status: NOERROR/.test(stdout) && !/ANSWER: 0,/.test(stdout);
  return { what: `dig ${args.join(" ")}`, gained: isAnswered ? "an answer" : null, ms: performance.now() - startedMs };
}

/** Returns an attempt that also counts as a gain when a failure is not told as one for now. */
function triedFailing(what: string, result: DnsResult): Attempt {
  const attempt = tried(what, result);
  if (attempt.gained !== null) return attempt;
  const [error] = result.outcome === "answer" ? result.extendedErrors : [];
  const isTold = result.outcome === "answer" && result.rcode === "SERVFAIL" && error?.text.includes("clawgress");
  return isTold === true ? attempt : { ...attempt, gained: `a failure without its reason: ${JSON.stringify(result)}` };
}

const notAllowed = () => [{ plane: "dns", reason: "dns-not-allowed" }];

export const dnsScenarios: readonly Scenario[] = [
  {
    id: "WD1",
    title: "a denied name, with every type",
    attack: (scene) =>
      each(["A", "AAAA", "TXT", "NULL", "MX", "ANY", "HTTPS", "SRV", "CNAME"], async (type) => {
        const name = `${scene.fresh()}.denied.test`;
        return triedName(`${type} ${name}`, await ask(scene, name, { type }));
      }),
    forbidden: () => ({ queries: ["*.denied.test"] }),
    control: askAllowed,
    records: notAllowed,
  },
  {
    id: "WD2",
    title: "a tunnel: 500 long labels under a denied name",
    attack: async (scene) => {
      const names = Array.from({ length: 500 }, () => `${scene.fresh()}-`.padEnd(60, "0123456789abcdef"));
      const answers = await Promise.all(names.map((label) => ask(scene, `${label}.denied.test`)));
      const lines = scene.gateway === null ? 0 : (await ownLines(scene)).length;
      return [
        ...answers.map((answer) => triedName("a label", answer)).filter(({ gained }) => gained !== null),
        inVain("an open gateway writes none", gainedIf(`${lines} lines of records for 500 questions`, lines > 50)),
      ];
    },
    forbidden: () => ({ queries: ["*.denied.test"] }),
    control: askAllowed,
    records: notAllowed,
  },
  {
    id: "WD3",
    title: "a tunnel under an exact name, and one under an allowed wildcard, from one address after the other",
    attack: async (scene) => {
      const below = `${scene.fresh()}.a.allowed.test`;
      const exact = triedName(below, await ask(scene, below));
      // Its own bound, and the one of all who are new on the link.
      const most = 2 * MAX_NAMES;
      const names = Array.from({ length: 6 * MAX_NAMES }, () => `${scene.fresh()}.wild.test`);
      const question = { method: "resolve", timeoutMs: 3_000, server: scene.by.resolver } as const;
      for (let first = 0; first < names.length; first += most) {
        await scene.client.batch(names.slice(first, first + most).map((name) => ({ ...question, name })));
        await scene.changeAddresses();
      }
      const arrived = new Set((await scene.lab.queries({ name: "*.wild.test" })).map(({ name }) => name));
      return [exact, gainedIf(`${arrived.size} of ${names.length} names under *.wild.test`, arrived.size > most)];
    },
    forbidden: () => ({ queries: ["*.a.allowed.test"] }),
    control: connectAllowed,
    records: () => [{ plane: "dns", reason: "dns-rate" }],
  },
  {
    id: "WD4",
    title: "a denied name with every flag, class and option, also one of a signed zone",
    attack: async (scene) => {
      const name = () => `${scene.fresh()}.signed-denied.test`;
      const flags: readonly DnsQuestion[] = [
        { dnssecOk: true },
        { checkingDisabled: true },
        { recursionDesired: false },
        { dnssecOk: true, checkingDisabled: true },
        { edns: false },
        { transport: "tcp" },
      ];
      const classes = ["CH", "HS"] as const;
      return [
        ...(await each(flags, async (flag) => {
          const isTold = flag.edns !== false;
          return triedName(JSON.stringify(flag), await ask(scene, name(), flag), isTold);
        })),
        ...(await each(classes, async (queryClass) =>
          inVain(
            "the internet's name server has no zones of that class",
            tried(`class ${queryClass}`, await ask(scene, name(), { queryClass, type: "TXT" })),
          ),
        )),
        await dig(scene, [name(), "+subnet=203.0.113.0/24"]),
        await dig(scene, [name(), "+padding=256"]),
        await dig(scene, ["+norecurse", "www.signed-denied.test"]),
        inVain("the internet's name server does not tell", await dig(scene, ["-c", "CH", "version.bind", "TXT"])),
      ];
    },
    forbidden: () => ({ queries: ["*.signed-denied.test"] }),
    control: askAllowed,
    records: () => [...notAllowed(), { plane: "dns", reason: "dns-type" }],
  },
  {
    id: "WD6",
    title: "other spellings of a denied name, and look-alikes of an allowed one",
    attack: (scene) =>
      each(
        [
          "wWw.DeNiEd.TeSt",
          "www.denied.test.",
          `${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(48)}.denied.test`,
        ],
        async (name) => tried(name, await ask(scene, name)),
      ).then(async (attempts) => [
        ...attempts,
        // "а.allowed.test" with a Cyrillic а, and "a" with an accent.
        ...(await each(["xn--80a.allowed.test", "xn--1ca.allowed.test"], async (name) =>
          inVain("nobody has that name; its question arrives", tried(name, await ask(scene, name))),
        )),
        inVain("dig itself refuses to ask", await dig(scene, ["a..denied.test"])),
        inVain("nobody has that name", await dig(scene, ["a\\.allowed.test"])),
        await dig(scene, ["www\\.denied.denied.test"]),
      ]),
    forbidden: () => ({ queries: ["*.denied.test", "xn--80a.allowed.test", "xn--1ca.allowed.test"] }),
    control: async (scene) => insist("A.aLLoWeD.TEST", await ask(scene, "A.aLLoWeD.TEST")),
    records: notAllowed,
  },
  {
    id: "WD7",
    title: "names that only begin or end like an allowed one",
    attack: (scene) =>
      each(
        ["a.allowed.test.denied.test", "nota.allowed.test", "xa.allowed.test", "wild.test", "xwild.test"],
        async (name) => triedName(name, await ask(scene, name, { type: addressType(scene) })),
      ),
    forbidden: () => ({ queries: ["*.denied.test", "wild.test", "xa.allowed.test", "nota.allowed.test"] }),
    control: connectAllowed,
    records: notAllowed,
  },
  {
    id: "WD8",
    title: "a resolver of the attacker's own, over UDP and TCP",
    attack: (scene) =>
      each(["udp", "tcp"] as const, async (transport) => {
        const name = `${scene.fresh()}.denied.test`;
        return triedName(transport, await ask(scene, name, { server: scene.service(40), transport, timeoutMs: 900 }));
      }),
    forbidden: (scene) => ({ packets: [{ to: scene.service(40) }], queries: ["*.denied.test"] }),
    control: async (scene) => {
      // The same way, the gate answers what the policy allows.
      const server = scene.gateway === null ? scene.by.resolver : scene.service(40);
      insist("a.allowed.test", await ask(scene, "a.allowed.test", { server }));
    },
    records: notAllowed,
  },
  {
    id: "WD9",
    title: "the gateway's own upstream resolver, asked directly",
    attack: (scene) =>
      each(["udp", "tcp"] as const, async (transport) => {
        const server = scene.lab.addresses.dns[`v${scene.family}`];
        return triedName(transport, await ask(scene, `${scene.fresh()}.denied.test`, { server, transport }));
      }),
    forbidden: () => ({ queries: ["*.denied.test"] }),
    control: askAllowed,
    records: notAllowed,
  },
  {
    id: "WD10",
    title: "DNS and its relatives on other ports of an allowed address",
    attack: async (scene) => {
      await connectAllowed(scene);
      const ports = [5353, 5300, 8053, 5355, 137];
      const packets = ports.map((port) => datagram(scene, scene.service(10), port));
      await scene.client.raw(packets);
      return await each(ports, async (port) =>
        tried(`TCP ${port}`, await scene.client.connect(scene.service(10), port, { timeoutMs: 1_500 })),
      );
    },
    forbidden: (scene) => ({
      packets: [5353, 5300, 8053, 5355, 137].map((port) => ({ to: scene.service(10), port })),
    }),
    control: connectAllowed,
    records: (scene) => [{ plane: "ip", reason: "port-not-allowed", destination: scene.service(10), protocol: "udp" }],
  },
  {
    id: "WD11",
    title: "DNS over TLS, over QUIC, and DNSCrypt",
    attack: async (scene) => {
      await connectAllowed(scene);
      const hosts = [10, 40].map(scene.service);
      await scene.client.raw(hosts.flatMap((host) => [853, 443].map((port) => datagram(scene, host, port))));
      return await each(hosts, async (host) => tried(`${host}:853`, await scene.client.connect(host, 853)));
    },
    forbidden: (scene) => ({
      packets: [
        { to: scene.service(40) },
        { to: scene.service(10), port: 853 },
        { to: scene.service(10), protocol: "udp" },
      ],
    }),
    control: connectAllowed,
    records: (scene) => [
      { plane: "ip", reason: "port-not-allowed", destination: scene.service(10), port: 853 },
      { plane: "ip", reason: "ip-not-allowed", destination: scene.service(40), port: 853 },
    ],
  },
  {
    id: "WD12",
    title: "DNS over HTTPS, by name and by address",
    attack: async (scene) => [
      tried("by name", await scene.client.get("www.denied.test", 443, { ...scene.by, path: "/dns-query" })),
      tried("by address", await scene.client.tls(scene.service(40), 443, { servername: "www.denied.test" })),
    ],
    forbidden: (scene) => ({ packets: [{ to: scene.service(40) }], queries: ["*.denied.test"] }),
    control: async (scene) => insist("HTTPS", await scene.client.get("a.allowed.test", 443, scene.by)),
    records: (scene) => [...notAllowed(), { plane: "ip", reason: "ip-not-allowed", destination: scene.service(40) }],
  },
  {
    id: "WD13",
    title: "an allowed name that leads to private, local and other people's addresses",
    attack: async (scene) => {
      const names = hostileOf(scene);
      const attempts = await each(names, async (name) => {
        if (scene.gateway !== null && names.indexOf(name) >= RECORDS_AT_ONCE) await sleepMs(RECORD_EVERY_MS);
        return tried(name, await ask(scene, name, { type: addressType(scene) }));
      });
      const calls = names.map((host) => ({ ...scene.by, method: "connect", host, port: 443, timeoutMs: 300 }) as const);
      await scene.client.batch(calls);
      const opened = inVain("an open gateway has no sets", gainedIf("open in the kernel", await findOpened(scene)));
      return [...attempts, opened];
    },
    forbidden: (scene) => ({ packets: routedOf(scene).map((to) => ({ to })) }),
    control: connectAllowed,
    records: (scene) => hostileOf(scene).map((name) => ({ plane: "dns", reason: "private-answer", name })),
  },
  {
    id: "WD14",
    title: "rebinding: a public answer first, a private one when its time is over",
    attack: async (scene) => {
      const { lab, client } = scene;
      const [name, type] = [`${scene.fresh()}.moving.test`, addressType(scene)];
      await lab.move({
        v4: [scene.lab.names["moving.test"].v4[0] ?? ""],
        v6: [scene.lab.names["moving.test"].v6[0] ?? ""],
      });
      insist(name, await ask(scene, name, { type }));
      await lab.move({ v4: [lab.addresses.lan.v4], v6: [lab.addresses.lan.v6] });
      let last = await ask(scene, name, { type });
      await eventually("the first answer is over", async () => {
        last = await ask(scene, name, { type });
        return last.outcome === "answer" && !last.addresses.includes(scene.service(50));
      });
      // What the first answer opened stays.
      insist("the first address", await client.connect(scene.service(50), 443));
      return [tried("the second answer", { ...last, ms: 0 })];
    },
    control: connectAllowed,
    records: () => [{ plane: "dns", reason: "private-answer" }],
  },
  {
    id: "WD15",
    title: "the aliases behind an allowed name, asked by themselves, and their address, not asked for",
    attack: async (scene) => [
      ...(await each(["edge.cdn-unlisted.test", "e9.cdn2-unlisted.test"], async (name) =>
        triedName(name, await ask(scene, name, { type: addressType(scene) })),
      )),
      tried("its address", await scene.client.connect(addressOf(scene, "e9.cdn2-unlisted.test"), 443)),
    ],
    forbidden: (scene) => ({ packets: [{ to: addressOf(scene, "e9.cdn2-unlisted.test") }] }),
    control: async (scene) => insist("www.chain.test", await scene.client.connect("www.chain.test", 443, scene.by)),
    records: notAllowed,
  },
  {
    id: "WD17",
    title: "an HTTPS record with keys, address hints and h3",
    attack: async (scene) => [
      tried("the record", await ask(scene, "www.allowed.test", { type: "HTTPS" })),
      tried("over TCP", await ask(scene, "www.allowed.test", { type: "HTTPS", transport: "tcp" })),
      tried("the hint's address", await scene.client.connect(addressOf(scene, "git.lab.test"), 443)),
    ],
    // The gateway itself speaks to that address: only the questions can be counted.
    forbidden: () => ({ queries: ["www.allowed.test"] }),
    control: async (scene) => insist("www.allowed.test", await scene.client.connect("www.allowed.test", 443, scene.by)),
    records: (scene) => [{ plane: "ip", reason: "ip-not-allowed", destination: addressOf(scene, "git.lab.test") }],
  },
  {
    id: "WD19",
    title: "fragments, whole and in part, beside an answer that needs TCP",
    attack: async (scene) => {
      const to = scene.service(40);
      const ends = { from: scene.own, to, fromPort: 40_000, toPort: 53_000 };
      const whole = udpDatagram(ends, Buffer.alloc(40, "x"));
      const piece = (id: number, offset: number, payload: Buffer, more: boolean) => ({
        to,
        bytes: ipPacket({ from: scene.own, to, protocol: protocols.udp, payload, fragment: { id, offset, more } }),
      });
      await scene.client.raw([
        piece(1, 0, whole.subarray(0, 8), true),
        piece(1, 8, whole.subarray(8), false),
        piece(2, 0, whole.subarray(0, 8), true),
        piece(3, 64, whole.subarray(0, 16), false),
        // The second piece overwrites the port that was judged.
        piece(4, 0, whole.subarray(0, 16), true),
        piece(4, 0, udpDatagram({ ...ends, toPort: 443 }, Buffer.alloc(8)), false),
      ]);
      return [];
    },
    forbidden: (scene) => ({ packets: [{ to: scene.service(40) }] }),
    control: async (scene) => {
      const answer = await ask(scene, "many.allowed.test", { type: addressType(scene) });
      if (answer.outcome !== "answer" || !answer.truncated) throw new Error("many.allowed.test fits into UDP");
      insist("over TCP", await ask(scene, "many.allowed.test", { type: addressType(scene), transport: "tcp" }));
      insist("many.allowed.test", await scene.client.connect("many.allowed.test", 443, scene.by));
    },
    records: (scene) => [{ plane: "ip", reason: "ip-not-allowed", destination: scene.service(40), port: 53_000 }],
  },
  {
    id: "WD21",
    title: "named is killed: nobody answers in its place",
    attack: async (scene) => {
      await killForGood(scene, "named");
      const rounds = Array.from({ length: 20 });
      return [
        ...(await each(rounds, async () => {
          const name = `${scene.fresh()}.wild.test`;
          return triedFailing(name, await ask(scene, name, { type: addressType(scene) }));
        })),
        ...(await each(rounds, async () => {
          const name = `${scene.fresh()}.denied.test`;
          return triedName(name, await ask(scene, name));
        })),
        await toldByStatus(scene, "named does not run"),
        triedFailing("once the gate knows", await ask(scene, `${scene.fresh()}.wild.test`)),
      ];
    },
    forbidden: () => ({ queries: ["*.denied.test", "*.wild.test"] }),
    control: async (scene) => {
      await startAgain(scene);
      await eventually("named answers again", async () => {
        const answer = await ask(scene, `${scene.fresh()}.wild.test`);
        return answer.outcome === "answer" && answer.addresses.length > 0;
      });
      await askAllowed(scene);
    },
    records: () => [...notAllowed(), { plane: "dns", reason: "not-ready", action: "servfail" }],
  },
  {
    id: "WD22",
    title: "a name that the next commit allows: denied until then, and open at the first try after",
    attack: async (scene) => {
      await scene.enforce(policyWith());
      return [triedName("before the commit", await ask(scene, "b.allowed.test", { type: addressType(scene) }))];
    },
    forbidden: () => ({ queries: ["b.allowed.test"] }),
    control: async (scene) => {
      await scene.enforce(policyWith("b.allowed.test"));
      insist("b.allowed.test", await scene.client.connect("b.allowed.test", 443, scene.by));
    },
    records: notAllowed,
  },
];

function datagram(scene: Scene, to: string, toPort: number): { readonly to: string; readonly bytes: Buffer } {
  const payload = udpDatagram({ from: scene.own, to, fromPort: 40_000, toPort }, Buffer.from("query"));
  return { to, bytes: ipPacket({ from: scene.own, to, protocol: protocols.udp, payload }) };
}

/** The names that have hostile addresses of the family. */
const hostileOf = ({ family }: Scene): readonly string[] =>
  hostile.filter((name) => (hostileNames[name]?.[`v${family}`].length ?? 0) > 0);

/** Those of their addresses that a gateway without rules would send on to the internet side. */
const routedOf = ({ family }: Scene): readonly string[] =>
  family === 4 ? ["100.64.0.1"] : ["fd00:ec2::254", "fd12:3456::1", "64:ff9b::a50:1", "2002:a50:1::1"];

/** What the kernel lets the machine reach by name; null when that is nothing. */
async function findOpened({ lab, gateway, family, own }: Scene): Promise<string | null> {
  if (gateway === null) return null;
  const text = await lab.execChecked("gateway", ["nft", "list", "map", "inet", "clawgress", `pin${family}`]);
  return text.split(/[{},]/).find((element) => element.trim().startsWith(`${own} `)) ?? null;
}

async function ownLines({ gateway, own }: Scene): Promise<readonly string[]> {
  const text = await readFile(join(gateway?.folder ?? "", "run", "gate", "deny.jsonl"), "utf8");
  return text.split("\n").filter((line) => line.includes(`"client":"${own}"`));
}
