import { FRESH_PATH, freshApprovalPath, MAX_FRESH_BYTES } from "../trust/freshness.ts";
import type { Root } from "../trust/root.ts";
import { MAX_SIGNATURE_BYTES } from "../trust/sshsig.ts";
import type { Tree } from "./read-manifest.ts";

/** Returns the statement of the role `freshness` with its signatures; null when the commit has none. @throws AgentError SOURCE_* */
export async function readFresh(
  tree: Tree,
  root: Root,
): Promise<{ readonly bytes: Buffer; readonly signatures: ReadonlyMap<string, Buffer> } | null> {
  const bytes = await tree.readFile(FRESH_PATH, MAX_FRESH_BYTES);
  if (bytes === null) return null;
  const signatures = new Map<string, Buffer>();
  for (const name of root.roles.freshness?.principals ?? []) {
    const signature = await tree.readFile(freshApprovalPath(name), MAX_SIGNATURE_BYTES);
    if (signature !== null) signatures.set(name, signature);
  }
  return { bytes, signatures };
}
