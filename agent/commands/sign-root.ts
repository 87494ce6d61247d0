import { join } from "node:path";
import { AgentError } from "../errors.ts";
import { replaceFile } from "../host/files.ts";
import { signWithSshKeygen } from "../host/ssh-keygen.ts";
import { isWithin, openWorkTree } from "../host/work-tree.ts";
import { readRootSignatures } from "../source/read-roots.ts";
import type { Count } from "../trust/approvals.ts";
import { describeRootChange } from "../trust/describe-root.ts";
import { type Root, rootPath } from "../trust/root.ts";
import { countRootApprovals, ROOT_NAMESPACE, type RootSignatures, rootApprovalPath } from "../trust/root-chain.ts";
import { judgeNow } from "./judge-locks.ts";
import { loadNewestRoot, loadRootOf } from "./load-root.ts";
import type { Output } from "./output.ts";
import type { SignOptions } from "./sign.ts";
import { findSigningKey } from "./signing-key.ts";

/**
 * Approves the newest root of trust in a working clone: shows what it changes, signs its exact bytes, and says who of
 * those whom the root before it and itself ask for is missing. A key that counts in both is counted for both. Returns 0.
 * @throws AgentError USAGE, TRUST_ROOT_INVALID, TRUST_SIGNING_FAILED
 */
export async function signRoot(options: SignOptions, output: Output): Promise<number> {
  const folder = options.repositoryFolder;
  const tree = openWorkTree(folder);
  const next = await loadNewestRoot(tree);
  const number = next.root.root;
  if (number === 1) {
    throw new AgentError(
      "USAGE",
      "trust/1.json is the first root: gateways are installed with it, and nobody signs it",
      {
        remedy: "make the next one with `clawgress rotate`",
      },
    );
  }
  const old = await loadRootOf(tree, number - 1);
  if (old.root.repository !== next.root.repository) {
    throw new AgentError("USAGE", `${rootPath(number)} is for another repository than ${rootPath(number - 1)}`);
  }
  const roots = [old.root, next.root];
  const key = await findSigningKey(
    roots.map((root) => ({ root, principals: root.roles.root.principals })),
    { key: options.key ?? null, principal: options.principal ?? null },
  );
  output.line(`${rootPath(number)} follows ${rootPath(number - 1)}:`);
  for (const line of describeRootChange(old.root, next.root)) output.line(`  ${line}`);
  output.note(
    `Signing as ${key.principal} with ${key.fingerprint} (${key.candidate.origin}); touch the key if it blinks.`,
  );
  const signature = await signWithSshKeygen(key.candidate, ROOT_NAMESPACE, next.bytes);

  const written: string[] = [];
  const signed = await readRootSignatures(tree, old.root, next.bytes);
  const all: RootSignatures = { byOld: add(old.root, signed.byOld), byNew: add(next.root, signed.byNew) };
  function add(by: Root, existing: ReadonlyMap<string, Buffer>): ReadonlyMap<string, Buffer> {
    const owner = key.ownerIn(by);
    if (owner === null || !by.roles.root.principals.includes(owner)) return existing;
    written.push(rootApprovalPath(number, by.root, owner));
    return new Map([...existing, [owner, signature]]);
  }
  const counts = countRootApprovals(old.root, next.root, next.bytes, all, judgeNow);
  const isCounted = [counts.old.count, counts.new.count].some(({ counted }) => counted.includes(key.principal));
  if (!isCounted) {
    throw new AgentError("TRUST_SIGNING_FAILED", "gateways would not count the signature that ssh-keygen made", {
      remedy: "use another key of the root",
    });
  }
  for (const path of written) await isWithin(folder, path);
  for (const path of written) await replaceFile(join(folder, path), signature);

  for (const path of written) output.line(`Signed as ${key.principal}: ${path}`);
  const missing = counts.old.count.missing + counts.new.count.missing;
  for (const line of describeNext(counts.old.root, counts.new.root, counts.old.count, counts.new.count))
    output.line(line);
  output.document({
    root: number,
    principal: key.principal,
    key: key.fingerprint,
    written,
    missing: { old: counts.old.count.missing, new: counts.new.count.missing },
    changes: [...describeRootChange(old.root, next.root)],
    complete: missing === 0,
  });
  return 0;
}

function describeNext(old: Root, next: Root, byOld: Count, byNew: Count): readonly string[] {
  const tell = (root: Root, { counted, missing, rejected }: Count, whose: string): readonly string[] => {
    const others = root.roles.root.principals.filter((name) => !counted.includes(name));
    const more = missing > 0 ? `; ${missing} more of ${others.join(", ")} must approve` : "";
    return [
      `As ${whose} asks: approved by ${counted.join(", ") || "nobody"}, ${counted.length} of ${root.roles.root.threshold}${more}`,
      ...rejected.map(({ file, why }) => `  ${file} does not count: ${why}`),
    ];
  };
  const isMissing = byOld.missing + byNew.missing > 0;
  return [
    ...tell(old, byOld, rootPath(old.root)),
    ...tell(next, byNew, rootPath(next.root)),
    "Commit and push:",
    `  git add -A -- trust && git commit -m "trust: root ${next.root}" && git push`,
    isMissing
      ? "Each of those who are missing runs, on the same branch: git pull && clawgress sign --root-of-trust"
      : "Enough people have approved; it can be merged. Then run `clawgress verify`: a lock may need approvals by the new root.",
  ];
}
