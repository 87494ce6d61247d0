import { AgentError } from "../errors.ts";
import { readFileBytes } from "../host/files.ts";
import { formatTextIssue } from "../policy/json-text.ts";
import type { Tree } from "../source/read-manifest.ts";
import { parseRoot } from "../trust/parse-root.ts";
import { MAX_ROOT_BYTES, MAX_ROOT_FILES, ROOT_FOLDER, type Root, rootNumbers, rootPath } from "../trust/root.ts";

/** Returns the root of trust in a file of this machine. @throws AgentError TRUST_ROOT_INVALID with every issue; HOST_FILE */
export async function loadRoot(path: string): Promise<Root> {
  return parse(await readFileBytes(path, MAX_ROOT_BYTES), path);
}

/**
 * Returns the newest root that a repository carries. It says who is meant to sign, not who is trusted: that is for the
 * file on each gateway to say. @throws AgentError TRUST_ROOT_INVALID
 */
export async function loadNewestRoot(tree: Tree): Promise<Root> {
  const newest = rootNumbers(await tree.listFiles(ROOT_FOLDER, MAX_ROOT_FILES)).at(-1);
  const path = rootPath(newest ?? 1);
  const bytes = await tree.readFile(path, MAX_ROOT_BYTES);
  if (newest === undefined || bytes === null) {
    throw new AgentError("TRUST_ROOT_INVALID", `the repository has no ${path}`, {
      remedy: "make one with `clawgress init`, or name the folder of the clone with --repository-folder",
    });
  }
  const root = parse(bytes, path);
  if (root.root === newest) return root;
  throw new AgentError("TRUST_ROOT_INVALID", `${path} says that it is root ${root.root}`, {
    remedy: "the number in the file and in its name must be the same",
  });
}

function parse(bytes: Buffer, path: string): Root {
  const result = parseRoot(bytes, path);
  if (result.ok) return result.root;
  throw new AgentError("TRUST_ROOT_INVALID", result.issues.map(formatTextIssue).join("\n"), {
    remedy: "correct the lines named above; policy-schema/root.schema.json describes every key",
  });
}
