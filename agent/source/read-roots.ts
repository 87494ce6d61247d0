import { AgentError, type Code } from "../errors.ts";
import type { Judge } from "../trust/approvals.ts";
import { MAX_ROOT_BYTES, MAX_ROOT_FILES, ROOT_FOLDER, type Root, rootNumbers, rootPath } from "../trust/root.ts";
import {
  findNewest,
  openRoot,
  type RootInForce,
  type RootSignatures,
  rootApprovalPath,
  verifyNextRoot,
} from "../trust/root-chain.ts";
import { MAX_SIGNATURE_BYTES } from "../trust/sshsig.ts";
import type { Tree } from "./read-manifest.ts";

/**
 * Walks the chain of roots in a repository from one that is trusted to the newest, and returns it. Each is handed over
 * before the next is looked at: what was followed stays, though the chain breaks further on.
 * @throws AgentError TRUST_ROOT_CHAIN, TRUST_EQUIVOCATION, SOURCE_FILE, SOURCE_TOO_LARGE
 */
export async function walkRoots(
  tree: Tree,
  start: RootInForce,
  judge: Judge,
  follow: (next: RootInForce) => Promise<void>,
): Promise<RootInForce> {
  const numbers = rootNumbers(await tree.listFiles(ROOT_FOLDER, MAX_ROOT_FILES));
  await refuseFork(tree, numbers, start);
  const found = findNewest(start.root, numbers);
  if (!found.ok) throw refuse("TRUST_ROOT_CHAIN", found.message, found.remedy);
  let current = start;
  while (current.root.root < found.newest) {
    const number = current.root.root + 1;
    const bytes = await readRootFile(tree, number);
    if (bytes === null) throw refuse("TRUST_ROOT_CHAIN", `${rootPath(number)} is missing`, "keep every root in trust/");
    const signatures = await readRootSignatures(tree, current.root, bytes);
    const result = verifyNextRoot({ current: current.root, bytes, ...signatures, judge });
    if (!result.ok) throw refuse("TRUST_ROOT_CHAIN", result.message, result.remedy);
    await follow(result.next);
    current = result.next;
  }
  return current;
}

/** What the repository has under the number in force must be that root, or it is another chain. */
async function refuseFork(tree: Tree, numbers: readonly number[], { root, digest }: RootInForce): Promise<void> {
  if (!numbers.includes(root.root)) return;
  const opened = openRoot((await readRootFile(tree, root.root)) ?? Buffer.alloc(0), rootPath(root.root));
  if ("root" in opened && opened.digest === digest) return;
  const message = `${rootPath(root.root)} is not the root ${root.root} that is followed`;
  throw refuse("TRUST_EQUIVOCATION", message, "a root is never changed: undo that, and make the next one");
}

/** Returns the approvals of the root that comes after a root, by those whom either names; nothing else is looked at. */
export async function readRootSignatures(tree: Tree, current: Root, bytes: Buffer): Promise<RootSignatures> {
  const number = current.root + 1;
  const opened = openRoot(bytes, rootPath(number));
  const next = "root" in opened ? opened.root : null;
  return {
    byOld: await readSignatures(tree, number, current),
    byNew: next === null || next.root !== number ? new Map() : await readSignatures(tree, number, next),
  };
}

async function readSignatures(tree: Tree, number: number, by: Root): Promise<ReadonlyMap<string, Buffer>> {
  const signatures = new Map<string, Buffer>();
  for (const name of by.roles.root.principals) {
    const bytes = await tree.readFile(rootApprovalPath(number, by.root, name), MAX_SIGNATURE_BYTES);
    if (bytes !== null) signatures.set(name, bytes);
  }
  return signatures;
}

/** Returns the bytes of a root in a repository, or null. @throws AgentError SOURCE_FILE, SOURCE_TOO_LARGE */
export async function readRootFile(tree: Tree, number: number): Promise<Buffer | null> {
  return await tree.readFile(rootPath(number), MAX_ROOT_BYTES);
}

function refuse(code: Code, message: string, remedy: string): AgentError {
  return new AgentError(code, message, { remedy });
}
