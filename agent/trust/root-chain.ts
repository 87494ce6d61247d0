import { quoteText } from "../policy/parsed.ts";
import { type Root, rootNumbers, rootPath } from "./root.ts";
import type { TrustRefusal } from "./verify-approval.ts";

/**
 * Returns null when the installed root is the newest that the repository carries, else the refusal. Judging a commit by
 * an old root while a newer one exists would keep a removed signer in force.
 * @param names file names in the folder `trust` of the commit
 */
export function refuseNewerRoot(root: Root, names: readonly string[]): TrustRefusal | null {
  const newest = rootNumbers(names).at(-1) ?? 0;
  if (newest <= root.root) return null;
  return {
    ok: false,
    code: "TRUST_ROOT_UNSUPPORTED",
    message: `the repository carries ${quoteText(rootPath(newest))}, this gateway was installed with root ${root.root}`,
    remedy: `check ${rootPath(newest)} with the people who keep the root, and install it on the gateway as its root of trust`,
    counted: [],
    rejected: [],
    missing: 0,
  };
}
