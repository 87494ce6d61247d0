import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { DnsQuestion, DnsResult } from "../lab/client.ts";
import { eventually } from "../support/eventually.ts";
import { dnsAnswerScenarios } from "./dns-answer-scenarios.ts";
import { dnsDetourScenarios } from "./dns-detour-scenarios.ts";
import { addressType, ask, askAllowed, connectAllowed, MAX_NAMES, notAllowed, policyWith } from "./dns-stage.ts";
import { killForGood, startAgain, toldByStatus } from "./kill-part.ts";
import { ipPacket, protocols, udpDatagram } from "./packets.ts";
import { type Attempt, each, gainedIf, insist, inVain, type Scenario, tried, triedName } from "./scenario.ts";
import type { Scene } from "./scene.ts";

/** WD…: names, and what can be carried in them. */

/** Asks with dig, which can say more than a question of ours; a gain is any answer with data. */
async function dig(scene: Scene, args: readonly string[]): Promise<Attempt> {
  const startedMs = performance.now();
  const argv = ["dig", `@${scene.by.resolver}`, "+tries=1", "+time=2", ...args];
  const { stdout } = await scene.lab.exec("agent1", argv);
  const isAnswered = /status: NOERROR/.test(stdout) && !/ANSWER: 0,/.test(stdout);
  return { what: `dig ${args.join(" ")}`, gained: isAnswered ? "an answer" : null, ms: performance.now() - startedMs };
}

/** The gate asks named twice, and gives up after 4 s each time. */
const GIVEN_UP_MS = 10_000;
const MAX_LATE = 2;

/** A question that is lost between the gate and a named that ends is told so late; that is not the rule. */
function sparingLate(attempts: readonly Attempt[]): readonly Attempt[] {
  const late = new Set([...attempts].sort((a, b) => b.ms - a.ms).slice(0, MAX_LATE));
  return attempts.map((attempt) => (late.has(attempt) ? { ...attempt, ms: 0 } : attempt));
}

/** Returns an attempt that also counts as a gain when a failure is not told as one for now. */
function triedFailing(what: string, result: DnsResult): Attempt {
  const attempt = tried(what, result);
  if (attempt.gained !== null) return attempt;
  const [error] = result.outcome === "answer" ? result.extendedErrors : [];
  const isTold = result.outcome === "answer" && result.rcode === "SERVFAIL" && error?.text.includes("clawgress");
  return isTold === true ? attempt : { ...attempt, gained: `a failure without its reason: ${JSON.stringify(result)}` };
}

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
  ...dnsDetourScenarios,
  ...dnsAnswerScenarios,
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
        ...sparingLate(
          await each(rounds, async () => {
            const name = `${scene.fresh()}.wild.test`;
            return triedFailing(name, await ask(scene, name, { type: addressType(scene), timeoutMs: GIVEN_UP_MS }));
          }),
        ),
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

async function ownLines({ gateway, own }: Scene): Promise<readonly string[]> {
  const text = await readFile(join(gateway?.folder ?? "", "run", "gate", "deny.jsonl"), "utf8");
  return text.split("\n").filter((line) => line.includes(`"client":"${own}"`));
}
