import { sleepMs } from "../../agent/host/clock.ts";
import { hostileNames } from "../lab/addresses.ts";
import { eventually } from "../support/eventually.ts";
import {
  addressOf,
  addressType,
  ask,
  connectAllowed,
  hostile,
  notAllowed,
  RECORD_EVERY_MS,
  RECORDS_AT_ONCE,
} from "./dns-stage.ts";
import { each, gainedIf, insist, inVain, type Scenario, tried, triedName } from "./scenario.ts";
import type { Scene } from "./scene.ts";

/** WD13 to WD17: what an allowed name may lead to. */

export const dnsAnswerScenarios: readonly Scenario[] = [
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
];

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
