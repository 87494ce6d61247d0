import { rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { sleepMs } from "../../agent/host/clock.ts";
import { runChecked } from "../../agent/host/run.ts";
import { parsePolicy } from "../../agent/policy/parse-policy.ts";
import { eventually } from "../support/eventually.ts";
import type { TestGateway } from "../support/gateway.ts";
import { isNear, mediansIfOff } from "../support/medians.ts";
import { signByHand } from "../support/sign-by-hand.ts";
import { killForGood, startAgain } from "./kill-part.ts";
import { overrideApi, overrideScenarios } from "./override-scenarios.ts";
import { ipPacket, protocols, udpDatagram } from "./packets.ts";
import { type Attempt, each, gainedIf, insist, inVain, type Scenario, tried } from "./scenario.ts";
import type { Scene, StageOptions } from "./scene.ts";

/** WA… and WG…: abuse of what is allowed, of the repository, and of a gateway in trouble (WI23 to WI25). */

const LIMIT_KBPS = 2_000;
const RECORD_BYTES = 256 * 1024;
/** A cap on bytes, and what may go over it: segments that the network card has joined are refused as one. */
const CAP_BYTES = 300_000;
const capped = {
  limits: { egress_kbps: LIMIT_KBPS },
  exfil: { domains: { "api.allowed.test": { bytes: CAP_BYTES, period: "day" } } },
};
const policyWith = (...names: readonly (string | object)[]) => ({
  version: 1,
  allow: {
    domains: ["a.allowed.test", "api.allowed.test", ...names],
    ips: ["203.0.113.60/32", "2001:db8:1::3c/128"],
    ports: [80, 443, 7002],
  },
  hosts: { limited: { sources: ["10.81.0.0/24", "fd81::/64"], ...capped } },
});
/** What somebody wants to be in force. */
const wide = policyWith("www.denied.test");

export const abuseStage: StageOptions = async () => ({
  policy: policyWith(),
  config: { records: { maxBytes: RECORD_BYTES }, api: overrideApi },
});

const once = [4] as const;
const connectAllowed = async (scene: Scene): Promise<void> => {
  insist("a.allowed.test:443", await scene.client.connect("a.allowed.test", 443, scene.by));
};
const reachDenied = async (scene: Scene, what: string): Promise<Attempt> =>
  tried(what, await scene.client.connect("www.denied.test", 443, scene.by));
const nothingDenied = (scene: Scene) => ({ packets: [{ to: scene.service(40) }], queries: ["*.denied.test"] });
const deniedName = () => [{ plane: "dns", reason: "dns-not-allowed", name: "www.denied.test" }];

/** Pushes what must not be accepted, waits for the verdict, and tries what it would have opened. */
async function push(scene: Scene, what: string, commit: (gateway: TestGateway) => Promise<string>): Promise<Attempt> {
  const { gateway } = scene;
  if (gateway !== null) {
    const { state, description } = await gateway.awaitStatus(await commit(gateway), ["success", "failure", "error"]);
    if (state === "success") return { what, gained: `the commit is accepted: ${description}`, ms: 0 };
  }
  return await reachDenied(scene, what);
}

/** Commits a file's text as the policy, approved by nobody's program but with the right key. */
async function pushByHand(
  scene: Scene,
  what: string,
  text: string,
  tamper?: (file: string) => Promise<void>,
): Promise<Attempt> {
  return await push(scene, what, (gateway) =>
    gateway.commit(text, {
      signers: [],
      tamper: async (clone) => {
        await signByHand(clone, ["policy.json"], { alice: gateway.keys["alice"] ?? "" });
        await tamper?.(join(clone, "policy.json"));
      },
    }),
  );
}

const textOf = (policy: object): string => `${JSON.stringify(policy, null, 2)}\n`;

/** Puts the first policy back in force, whatever the clone holds, and waits for it. */
const recover = async (scene: Scene): Promise<void> => {
  await scene.enforce(policyWith());
  await connectAllowed(scene);
};

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
  {
    id: "WG1",
    title: "a commit that nobody approved, one that a stranger approved, one approved for other content",
    families: once,
    attack: async (scene) => [
      await push(scene, "unsigned", (gateway) => gateway.commit(wide, { signers: [] })),
      await push(scene, "by a stranger", (gateway) =>
        gateway.commit(wide, {
          signers: [],
          tamper: (clone) => signByHand(clone, ["policy.json"], { alice: gateway.keys["mallory"] ?? "" }),
        }),
      ),
      await push(scene, "for its parent alone", async (gateway) => {
        await gateway.commit(policyWith("b.allowed.test"), { signers: ["alice"] });
        return await gateway.commit(wide, { signers: [] });
      }),
    ],
    forbidden: nothingDenied,
    control: recover,
    records: deniedName,
  },
  {
    id: "WG2",
    title: "an older, wider policy, approved in its time, is brought back",
    families: once,
    attack: async (scene) => {
      await scene.enforce(wide);
      const old = await scene.gateway?.head();
      await scene.enforce(policyWith());
      const good = await scene.gateway?.head();
      // A question of the wide policy's time may still be on its way.
      await scene.lab.mark();
      const attempts = [
        await push(scene, "as a new commit", (gateway) => pushTree(gateway, old ?? "")),
        await push(scene, "by force", (gateway) => forceBack(gateway, old ?? "")),
      ];
      if (scene.gateway !== null) await forceBack(scene.gateway, good ?? "");
      return attempts;
    },
    forbidden: nothingDenied,
    control: recover,
    records: deniedName,
  },
  {
    id: "WG3",
    title: "a merge of approved commits that holds what neither of them has",
    families: once,
    attack: async (scene) => [
      await push(scene, "the mix", pushMerge),
      await push(scene, "the mix as one commit", (gateway) =>
        gateway.commit(policyWith("b.allowed.test"), {
          signers: ["alice"],
          tamper: (clone) => writeFile(join(clone, "policy.json"), textOf(wide)),
        }),
      ),
    ],
    forbidden: nothingDenied,
    control: recover,
    records: deniedName,
  },
  {
    id: "WG4",
    title:
      "approved files that are no policy: unknown keys, wrong values, too large, links, submodules, pointers, filters",
    families: once,
    attack: async (scene) => {
      const text = textOf(wide);
      const good = await scene.gateway?.head();
      const texts: readonly (readonly [what: string, text: string])[] = [
        ["a repeated key", text.replace('"version": 1,', '"version": 1,\n  "version": 1,')],
        ["a port that is none", text.replace("443", "44300000")],
        ["a port that is no number", text.replace("443", "NaN")],
        ["bits beyond a prefix", text.replace("203.0.113.60/32", "203.0.113.61/30")],
        ["every name", textOf({ version: 1, allow: { domains: ["*", "www.denied.test"] } })],
      ];
      const attempts = [
        // What refuses these is the same function for everybody.
        ...texts.map(([what, bytes]) => {
          const isRefused = scene.gateway !== null && !parsePolicy(Buffer.from(bytes), "policy.json").ok;
          return gainedIf(what, !isRefused);
        }),
        await pushByHand(scene, "an unknown key", textOf({ ...wide, allowed: {} })),
        await pushByHand(scene, "17 MB, which travel as 17 kB", text + " ".repeat(17 * 1024 * 1024)),
        await pushByHand(scene, "a pointer of Git LFS", lfsPointer),
        await pushByHand(scene, "a symbolic link", text, async (file) => {
          await rm(file);
          await symlink("clawgress.lock.json", file);
        }),
      ];
      await restorePolicy(scene, good);
      attempts.push(await push(scene, "a filter that turns what was approved into something else", pushFiltered));
      attempts.push(await push(scene, "a submodule in the policy's place", pushSubmodule));
      await restorePolicy(scene, good);
      return attempts;
    },
    forbidden: nothingDenied,
    control: recover,
    records: deniedName,
  },
  {
    id: "WG5",
    title: "a Git server that fails, lies, stalls or never ends",
    families: once,
    attack: async (scene) => {
      const faults = [{ kind: "html" }, { kind: "truncate" }, { kind: "endless" }, { kind: "silence" }] as const;
      const attempts = await each(faults, async (fault) => {
        await scene.lab.git.fault(fault);
        await new Promise((resolve) => setTimeout(resolve, 700));
        await connectAllowed(scene);
        return await reachDenied(scene, fault.kind);
      });
      await scene.lab.git.fault(null);
      await scene.lab.git.dropConnections();
      return attempts;
    },
    forbidden: nothingDenied,
    control: recover,
    records: deniedName,
  },
  {
    id: "WG9",
    title: "a policy that locks everybody out: clients, but neither management nor the way back",
    families: once,
    attack: async (scene) => {
      await scene.enforce({ version: 1, mode: "deny-all" });
      return [tried("a.allowed.test", await scene.client.connect("a.allowed.test", 443, scene.by))];
    },
    forbidden: (scene) => ({ packets: [{ to: scene.service(10) }], queries: ["a.allowed.test"] }),
    control: async (scene) => {
      const curl = await scene.lab.exec("mgmt", ["curl", "-sm2", "-o", "/dev/null", `http://${scene.service(10)}/`]);
      if (scene.gateway !== null && curl.exitCode !== 0) throw new Error("management is cut off");
      await recover(scene);
    },
    records: () => [{ plane: "dns", reason: "deny-all" }],
  },
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

const git = (gateway: TestGateway, ...argv: readonly string[]): Promise<string> =>
  runChecked(["git", "-C", gateway.clone, ...argv], { timeoutMs: 20_000 });

const lfsPointer = `version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 12345
`;

/** Whoever corrects it goes on from there: what was approved is verified, though it is no policy. */
async function restorePolicy({ gateway }: Scene, good: string | undefined): Promise<void> {
  if (gateway === null) return;
  await rm(join(gateway.clone, ".gitattributes"), { force: true });
  await git(gateway, "checkout", "--quiet", good ?? "HEAD", "--", "policy.json");
}

/** Merges two approved commits; the policy of the merge is nobody's. */
async function pushMerge(gateway: TestGateway): Promise<string> {
  const base = (await git(gateway, "rev-parse", "HEAD")).trim();
  await gateway.commit(policyWith("b.allowed.test"), { signers: ["alice"] });
  const side = await gateway.commit(policyWith("www.allowed.test"), { signers: ["alice"] });
  await git(gateway, "reset", "--quiet", "--hard", base);
  // Not pushed as the branch's end: it only is the merge's other parent.
  await writeFile(join(gateway.clone, "policy.json"), textOf(wide));
  await git(gateway, "add", "-A");
  const tree = (await git(gateway, "write-tree")).trim();
  const merge = (await git(gateway, "commit-tree", tree, "-p", side, "-p", base, "-m", "merge")).trim();
  await git(gateway, "reset", "--quiet", "--hard", merge);
  await git(gateway, "push", "--quiet", "origin", "HEAD:main");
  return merge;
}

/** Puts a commit of another repository where the policy was. */
async function pushSubmodule(gateway: TestGateway): Promise<string> {
  const commit = (await git(gateway, "rev-parse", "HEAD")).trim();
  await git(gateway, "rm", "--quiet", "--cached", "policy.json");
  await git(gateway, "update-index", "--add", "--cacheinfo", `160000,${commit},policy.json`);
  await git(gateway, "commit", "--quiet", "-m", "a submodule");
  await git(gateway, "push", "--quiet", "origin", "HEAD:main");
  return (await git(gateway, "rev-parse", "HEAD")).trim();
}

/** Signs a policy that everybody likes; what Git stores of it is made by a filter. */
async function pushFiltered(gateway: TestGateway): Promise<string> {
  return await gateway.commit(policyWith("b.allowed.test"), {
    signers: ["alice"],
    tamper: async (clone) => {
      await writeFile(join(gateway.folder, "wide.json"), textOf(wide));
      await writeFile(join(clone, ".gitattributes"), "policy.json filter=wide\n");
      await git(gateway, "config", "filter.wide.clean", `cat ${join(gateway.folder, "wide.json")}`);
    },
  });
}

/** Commits the tree of an older commit on top of what is there. */
async function pushTree(gateway: TestGateway, commit: string): Promise<string> {
  await git(gateway, "rm", "-r", "--quiet", ".");
  await git(gateway, "checkout", "--quiet", commit, "--", ".");
  await git(gateway, "commit", "--quiet", "-m", "as it was");
  await git(gateway, "push", "--quiet", "origin", "HEAD:main");
  return (await git(gateway, "rev-parse", "HEAD")).trim();
}

/** Makes the branch end with an older commit, and an empty one on it, as if nothing had come after. */
async function forceBack(gateway: TestGateway, commit: string): Promise<string> {
  await git(gateway, "reset", "--quiet", "--hard", commit);
  await git(gateway, "commit", "--quiet", "--allow-empty", "-m", "as it was");
  await git(gateway, "push", "--quiet", "--force", "origin", "HEAD:main");
  return (await git(gateway, "rev-parse", "HEAD")).trim();
}
