import { rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runChecked } from "../../agent/host/run.ts";
import { parsePolicy } from "../../agent/policy/parse-policy.ts";
import type { TestGateway } from "../support/gateway.ts";
import { signByHand } from "../support/sign-by-hand.ts";
import {
  connectAllowed,
  deniedName,
  nothingDenied,
  once,
  policyWith,
  reachDenied,
  recover,
  textOf,
  wide,
} from "./abuse-policy.ts";
import { type Attempt, each, gainedIf, type Scenario, tried } from "./scenario.ts";
import type { Scene } from "./scene.ts";

/** WG…: abuse of the repository. */

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

/** Commits what would open all, approved in a person's name with nothing but a key. */
async function pushSigned(scene: Scene, what: string, person: string, keyOf = person): Promise<Attempt> {
  return await push(scene, what, (gateway) =>
    gateway.commit(wide, {
      signers: [],
      tamper: (clone) => signByHand(clone, ["policy.json"], { [person]: gateway.keys[keyOf] ?? "" }),
    }),
  );
}

export const repositoryScenarios: readonly Scenario[] = [
  {
    id: "WG1",
    title:
      "a commit approved by nobody, by a stranger, with a key that is over or revoked, for other content, by a tag",
    families: once,
    attack: async (scene) => [
      await push(scene, "unsigned", (gateway) => gateway.commit(wide, { signers: [] })),
      await pushSigned(scene, "by a stranger", "alice", "mallory"),
      await pushSigned(scene, "with a key that is over", "erin"),
      await pushSigned(scene, "with a key that is revoked", "dave"),
      await push(scene, "for its parent alone", async (gateway) => {
        await gateway.commit(policyWith("b.allowed.test"), { signers: ["alice"] });
        return await gateway.commit(wide, { signers: [] });
      }),
      await push(scene, "by a tag that a person of the root signed", pushTagged),
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
];

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

/** Pushes a commit that nobody approved together with a tag on it, which is signed. */
async function pushTagged(gateway: TestGateway): Promise<string> {
  await writeFile(join(gateway.clone, "policy.json"), textOf(wide));
  await git(gateway, "commit", "--quiet", "--all", "--allow-empty", "-m", "tagged");
  const key = gateway.keys["alice"] ?? "";
  await git(gateway, "-c", "gpg.format=ssh", "-c", `user.signingKey=${key}`, "tag", "--sign", "-m", "good", "good");
  await git(gateway, "push", "--quiet", "origin", "HEAD:main", "refs/tags/good");
  return (await git(gateway, "rev-parse", "HEAD")).trim();
}

/** Merges two approved commits; the policy of the merge is nobody's. */
async function pushMerge(gateway: TestGateway): Promise<string> {
  const base = (await git(gateway, "rev-parse", "HEAD")).trim();
  await gateway.commit(policyWith("b.allowed.test"), { signers: ["alice"] });
  const side = await gateway.commit(policyWith("www.allowed.test"), { signers: ["alice"] });
  // With the lock of the later parent: the gateway may have verified that by now, and whoever comes next signs above it.
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
