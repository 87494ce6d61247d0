import { AgentError } from "../errors.ts";
import { listIncludes } from "../policy/list-includes.ts";
import { MAX_INCLUDED_FILES } from "../policy/load-sources.ts";
import { refusePath } from "../trust/lock.ts";
import type { Tree } from "./read-manifest.ts";

/** 100,000 entries with all their fields. */
export const MAX_POLICY_BYTES = 64 * 1024 * 1024;
const MAX_TOTAL_BYTES = 128 * 1024 * 1024;

/**
 * Returns path → bytes of some files and of all that they include, as far as they are there and may stand in a lock.
 * What is missing is told with its line when the policy is judged.
 * @throws AgentError SOURCE_FILE, SOURCE_TOO_LARGE past 64 MiB for one, 128 MiB for all
 */
export async function readPolicyFiles(tree: Tree, paths: readonly string[]): Promise<ReadonlyMap<string, Buffer>> {
  const files = new Map<string, Buffer>();
  const waiting = [...paths];
  let totalBytes = 0;
  for (let path = waiting.shift(); path !== undefined; path = waiting.shift()) {
    if (files.has(path) || refusePath(path) !== null) continue;
    const bytes = await tree.readFile(path, MAX_POLICY_BYTES);
    if (bytes === null) continue;
    totalBytes += bytes.length;
    if (totalBytes > MAX_TOTAL_BYTES) {
      throw new AgentError("SOURCE_TOO_LARGE", `a policy and what it includes have more than ${MAX_TOTAL_BYTES} bytes`);
    }
    files.set(path, bytes);
    // One more than may be included is enough for the judge to say so.
    if (files.size > paths.length + MAX_INCLUDED_FILES) break;
    waiting.push(...listIncludes(bytes, { file: path, maxBytes: MAX_POLICY_BYTES }));
  }
  return files;
}
