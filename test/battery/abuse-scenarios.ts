import { stat } from "node:fs/promises";
import { join } from "node:path";
import { sleepMs } from "../../agent/host/clock.ts";
import { parsePolicy } from "../../agent/policy/parse-policy.ts";
import { eventually } from "../support/eventually.ts";
import { isNear, mediansIfOff } from "../support/medians.ts";
import {
  CAP_BYTES,
  connectAllowed,
  LIMIT_KBPS,
  nothingDenied,
  once,
  policyWith,
  reachDenied,
  recover,
  retire,
  retired,
  textOf,
} from "./abuse-policy.ts";
import { killForGood, startAgain } from "./kill-part.ts";
import { overrideApi, overrideScenarios } from "./override-scenarios.ts";
import { ipPacket, protocols, udpDatagram } from "./packets.ts";
import { repositoryScenarios } from "./repository-scenarios.ts";
import { each, gainedIf, insist, inVain, type Scenario, tried } from "./scenario.ts";
import type { Scene, StageOptions } from "./scene.ts";

/** WA…: abuse of what is allowed, and of a gateway in trouble (WI23 to WI25). */

const RECORD_BYTES = 256 * 1024;

export const abuseStage: StageOptions = async () => ({
  policy: policyWith(),
  config: { records: { maxBytes: RECORD_BYTES }, api: overrideApi },
  people: retired,
  reviseRoot: retire,
});

export const abuseScenarios: readonly Scenario[] = [
  ...overrideScenarios(policyWith, recover),
  {
    id: "WA1",
    title: "more bytes to an allowed host than its cap",
    attack: async ({ lab, by, service, family }) => {
      const resolver = lab.addresses.guestLan[`v${family}`];
      const options = { ...by, resolver, warmUpMs: 200, forMs: 1_000, atKbps: 50_000 };
      await lab.client("guest").upload("api.allowed.test", options);
      const { bytes } = await lab.packets({ to: service(13) });
      return [gainedIf(`${bytes} bytes of ${CAP_BYTES}`, bytes > CAP_BYTES)];
    },
    control: async (scene) => {
      const resolver = scene.lab.addresses.guestLan[`v${scene.family}`];
      const options = { ...scene.by, resolver };
      insist("another name", await scene.lab.client("guest").connect("a.allowed.test", 443, options));
      insist("another client", await scene.client.connect("api.allowed.test", 443, scene.by));
    },
    records: ({ lab, family }) => [{ plane: "ip", reason: "quota", client: lab.addresses.guest[`v${family}`] }],
  },
  {
    id: "WA2",
    title: "an upload faster than the host's limit",
    attack: async ({ lab, gateway, service }) => {
      const forMs = gateway === null ? 2_000 : 10_000;
      const measure = async (): Promise<readonly number[]> => {
        const result = await lab.client("guest").upload(service(60), { warmUpMs: 1_300, forMs, atKbps: 50_000 });
        if (result.outcome !== "connected") throw new Error(JSON.stringify(result));
        return [result.kbps];
      };
      const isRight = ([kbps = 0]: readonly number[]): boolean => gateway === null || isNear(kbps, LIMIT_KBPS);
      const [kbps = 0] = await mediansIfOff(measure, isRight);
      // What is less than it may be is no gain, but as wrong.
      const what = `${Math.round(kbps)} of ${LIMIT_KBPS} kbit/s`;
      if (kbps < LIMIT_KBPS && !isNear(kbps, LIMIT_KBPS)) throw new Error(what);
      return [gainedIf(what, !isNear(kbps, LIMIT_KBPS))];
    },
    control: async ({ client, service }) => {
      const result = await client.upload(service(60), { warmUpMs: 200, forMs: 500, atKbps: 50_000 });
      if (result.outcome !== "connected" || result.kbps < 4 * LIMIT_KBPS) throw new Error(JSON.stringify(result));
    },
  },
  {
    id: "WA3",
    title: "a store or a zone that is everybody's, in an entry of the policy",
    families: once,
    attack: async ({ gateway }) => {
      const broad = [
        "*.s3.amazonaws.com",
        "storage.googleapis.com",
        "*.github.io",
        "raw.githubusercontent.com",
        "dns.google",
      ];
      return broad.map((domain) => {
        const parsed = parsePolicy(Buffer.from(textOf({ version: 1, allow: { domains: [domain] } })), "policy.json");
        const isWarned = gateway !== null && parsed.ok && parsed.warnings.length > 0;
        return gainedIf(`${domain} without a warning`, !isWarned);
      });
    },
    control: connectAllowed,
  },
  ...repositoryScenarios,
  {
    id: "WI23",
    title: "agent and gate are killed, and the policy's table deleted by hand",
    attack: async (scene) => {
      const { gateway, lab } = scene;
      await connectAllowed(scene);
      await killForGood(scene, "gate");
      if (gateway !== null) await lab.execChecked("gateway", ["nft", "delete", "table", "inet", "clawgress"]);
      const counted = await countDenied(scene);
      await lab.mark();
      const attempts = await each([40, 10], async (n) =>
        tried(`address ${n}`, await scene.client.connect(scene.service(n), 443)),
      );
      // Nobody is there to write a record; the kernel counts.
      const isCounted = (await countDenied(scene)) - counted >= attempts.length;
      return [
        ...attempts,
        inVain("an open gateway counts none", gainedIf("not counted", gateway !== null && !isCounted)),
      ];
    },
    forbidden: (scene) => ({ packets: [40, 10].map((n) => ({ to: scene.service(n) })) }),
    control: async (scene) => {
      const known = (await scene.gateway?.log())?.length ?? 0;
      await startAgain(scene);
      await connectAllowed(scene);
      // The kernel's packets find the new gate with the second that is refused.
      const { outcome } = await scene.client.connect(scene.service(40), 443);
      await sleepMs(500);
      await scene.client.connect(scene.service(40), 443);
      const told = ((await scene.gateway?.log()) ?? []).slice(known).filter(({ event }) => event === "restoring");
      if (scene.gateway === null) return;
      if (outcome !== "refused") throw new Error(`a denied address is ${outcome} after the repair`);
      if (told.length === 0) throw new Error("the log does not say that the table was put right");
    },
    records: (scene) => [{ plane: "ip", reason: "ip-not-allowed", destination: scene.service(40), action: "rst" }],
  },
  {
    id: "WI24",
    title: "the agent dies in the middle of an apply",
    attack: async (scene) => {
      const { gateway } = scene;
      if (gateway !== null) {
        await scene.killAgent();
        await gateway.commit(policyWith("b.allowed.test"), { signers: ["alice"] });
        await scene.startAgent({ step: "4c-kernel", moment: "after", do: "kill" }).exited;
        // The gate was told to let names wait for the rest of the swap, and goes on by itself after 10 s at most.
        await eventually("the gate answers again", async () => {
          const question = { server: scene.by.resolver, timeoutMs: 1_000 };
          return (await scene.client.resolve("c.allowed.test", question)).outcome === "answer";
        });
      }
      return [
        await reachDenied(scene, "what neither policy has"),
        tried("its address", await scene.client.connect(scene.service(40), 443)),
      ];
    },
    forbidden: nothingDenied,
    control: async (scene) => {
      const { gateway } = scene;
      if (gateway !== null) scene.startAgent();
      await eventually("one of the two is whole", async () => {
        return (await scene.client.connect("a.allowed.test", 443, scene.by)).outcome === "connected";
      });
      await recover(scene);
    },
    records: (scene) => [{ plane: "ip", reason: "ip-not-allowed", destination: scene.service(40) }],
  },
  {
    // As much as these probes can send; `deny-flood.test.ts` sends 100,000 a second, `datapath-load.test.ts` fills the sets.
    id: "WI25",
    title: "a flood of denied packets and names",
    attack: async (scene) => {
      const to = scene.service(40);
      const payload = udpDatagram({ from: scene.own, to, fromPort: 40_000, toPort: 9 }, Buffer.from("x"));
      const packet = { to, bytes: ipPacket({ from: scene.own, to, protocol: protocols.udp, payload }) };
      const questions = Array.from({ length: 400 }, () =>
        scene.client.resolve(`${scene.fresh()}.denied.test`, { server: scene.by.resolver, timeoutMs: 10_000 }),
      );
      for (let round = 0; round < 5; round += 1) await scene.client.raw(Array.from({ length: 2_000 }, () => packet));
      await Promise.all(questions);
      const isUnbounded = (await recordBytes(scene)) > 2 * RECORD_BYTES;
      return [inVain("an open gateway writes none", gainedIf("records without bound", isUnbounded))];
    },
    forbidden: nothingDenied,
    control: async (scene) => {
      const startedMs = performance.now();
      const by = { ...scene.by, resolver: scene.lab.addresses.guestLan[`v${scene.family}`] };
      insist("another machine", await scene.lab.client("guest").connect("a.allowed.test", 443, by));
      const tookMs = performance.now() - startedMs;
      if (tookMs > 1_000) throw new Error(`an allowed connection took ${Math.round(tookMs)} ms`);
    },
    records: (scene) => [{ plane: "ip", reason: "ip-not-allowed", destination: scene.service(40) }],
  },
];

/** How many packets between networks the kernel has refused. */
async function countDenied({ gateway, lab }: Scene): Promise<number> {
  if (gateway === null) return 0;
  const argv = ["nft", "list", "counter", "inet", "clawgress_base", "denied_forward"];
  return Number(/packets (\d+)/.exec(await lab.execChecked("gateway", argv))?.[1]);
}

async function recordBytes({ gateway }: Scene): Promise<number> {
  if (gateway === null) return 0;
  const files = ["deny.jsonl", "deny.jsonl.1"].map((name) => join(gateway.folder, "run", "gate", name));
  const sizes = await Promise.all(
    files.map((file) =>
      stat(file).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
