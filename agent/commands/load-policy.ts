import { dirname, resolve } from "node:path";
import { openRelease, readGateRelease } from "../apply/release-store.ts";
import { AgentError } from "../errors.ts";
import { readFileBytes } from "../host/files.ts";
import { readPointers } from "../host/pointer-store.ts";
import { findRepositoryRoot, openWorkTree } from "../host/work-tree.ts";
import { formatIssue } from "../policy/issue-log.ts";
import { listIncludes } from "../policy/list-includes.ts";
import { parsePolicy } from "../policy/parse-policy.ts";
import type { Policy } from "../policy/policy.ts";
import { pathsOf } from "../settings/paths.ts";
import { MAX_POLICY_BYTES, readPolicyFiles } from "../source/read-policy-files.ts";
import { loadSettings } from "./load-settings.ts";

/** Returns the policy of a file. @throws AgentError POLICY_INVALID, POLICY_UNSUPPORTED or POLICY_TEST_FAILED with every issue and its line. */
export async function readPolicyFile(path: string, tests: "run" | "skip" = "run"): Promise<Policy> {
  const bytes = await readFileBytes(path, MAX_POLICY_BYTES);
  const files = await readIncluded(path, bytes);
  const result = parsePolicy(bytes, path, { maxBytes: MAX_POLICY_BYTES, files, tests });
  if (result.ok) return result.policy;
  const code = result.issues.find(({ severity }) => severity === "error")?.code ?? "POLICY_INVALID";
  throw new AgentError(code, result.issues.map(formatIssue).join("\n"), {
    remedy: "correct the lines named above; policy-schema/policy.schema.json describes every key",
  });
}

/** Paths of includes begin at the root of the repository: the nearest folder above with a lock or `.git`, else the file's own. */
async function readIncluded(path: string, bytes: Buffer): Promise<ReadonlyMap<string, Buffer>> {
  const includes = listIncludes(bytes, { file: path, maxBytes: MAX_POLICY_BYTES });
  if (includes.length === 0) return new Map();
  return await readPolicyFiles(openWorkTree(await findRepositoryRoot(dirname(resolve(path)))), includes);
}

/** Returns the policy that the gateway enforces now, from its confirmed release. @throws AgentError STATE_CORRUPT, APPLY_RELEASE_DAMAGED */
export async function loadEnforcedPolicy(configFile: string): Promise<Policy> {
  const settings = await loadSettings(configFile);
  const paths = pathsOf(settings);
  const { confirmed } = await readPointers(paths.pointers);
  if (confirmed.release === null) {
    throw new AgentError("STATE_CORRUPT", "no policy was confirmed yet: everything but the lifeline is denied", {
      remedy: "run `clawgress sync`, or give a policy file with --policy",
    });
  }
  const release = await openRelease(paths.releases, confirmed.release);
  return (await readGateRelease(release)).policy;
}
