import { AgentError } from "../errors.ts";
import { readFileBytes } from "../host/files.ts";
import type { Tree } from "../source/read-manifest.ts";
import { readRootFile } from "../source/read-roots.ts";
import { MAX_ROOT_BYTES, MAX_ROOT_FILES, ROOT_FOLDER, rootNumbers, rootPath } from "../trust/root.ts";
import { openRoot, type RootInForce } from "../trust/root-chain.ts";

/** Returns the root of trust in a file of this machine. @throws AgentError TRUST_ROOT_INVALID with every issue; HOST_FILE */
export async function loadRoot(path: string): Promise<RootInForce> {
  return open(await readFileBytes(path, MAX_ROOT_BYTES), path);
}

/**
 * Returns the newest root that a repository carries. It says who is meant to sign, not who is trusted: that is for the
 * file on each gateway to say. @throws AgentError TRUST_ROOT_INVALID
 */
export async function loadNewestRoot(tree: Tree): Promise<RootInForce> {
  const newest = rootNumbers(await tree.listFiles(ROOT_FOLDER, MAX_ROOT_FILES)).at(-1) ?? 1;
  return await loadRootOf(tree, newest);
}

/** Returns the root with a number that a repository carries. @throws AgentError TRUST_ROOT_INVALID */
export async function loadRootOf(tree: Tree, number: number): Promise<RootInForce> {
  const path = rootPath(number);
  const bytes = await readRootFile(tree, number);
  if (bytes === null) {
    throw new AgentError("TRUST_ROOT_INVALID", `the repository has no ${path}`, {
      remedy: "make one with `clawgress init`, or name the folder of the clone with --repository-folder",
    });
  }
  const opened = open(bytes, path);
  if (opened.root.root === number) return opened;
  throw new AgentError("TRUST_ROOT_INVALID", `${path} says that it is root ${opened.root.root}`, {
    remedy: "the number in the file and in its name must be the same",
  });
}

function open(bytes: Buffer, path: string): RootInForce {
  const result = openRoot(bytes, path);
  if ("root" in result) return result;
  throw new AgentError("TRUST_ROOT_INVALID", result.issues.join("\n"), {
    remedy: "correct the lines named above; policy-schema/root.schema.json describes every key",
  });
}
