import { createHash } from "node:crypto";
import { compareTexts } from "../../agent/policy/compare-texts.ts";
import type { CommitReader } from "../../agent/source/source.ts";
import { approvalPath } from "../../agent/trust/approvals.ts";
import { FRESH_NAMESPACE, FRESH_PATH, freshApprovalPath, renderFresh } from "../../agent/trust/freshness.ts";
import { digestOf, type Lock, lockPath, renderLock } from "../../agent/trust/lock.ts";
import { rootPath } from "../../agent/trust/root.ts";
import { ROOT_NAMESPACE, rootApprovalPath } from "../../agent/trust/root-chain.ts";
import type { Signer } from "./trust.ts";

/** A policy repository as the files of its head: what a team would merge, and what an attacker would make of it. */
export interface MemoryRepository {
  /** path → bytes; to be changed at will. */
  readonly files: Map<string, Buffer>;
  writePolicy(policy: object): void;
  /** Writes a lock over the policy files and its approvals. */
  writeLock(serial: number, options?: LockOptions): Buffer;
  /** Writes a root and its approvals, each by name → who signs. */
  writeRoot(json: { readonly root: number }, signers?: RootSigners): Buffer;
  /** Writes a statement of freshness. */
  writeFresh(serial: number, validUntil: string, signers: { readonly [name: string]: Signer }, changes?: object): void;
  /** Returns the files as they are now, as a commit of its own. */
  commit(): CommitReader;
}

export interface LockOptions {
  readonly signers?: { readonly [name: string]: Signer };
  /** Files that it lists; default: policy.json and whatever else is not in a folder of the program. */
  readonly paths?: readonly string[];
  readonly changes?: Partial<Lock>;
  readonly part?: string;
  readonly namespace?: string;
}

export interface RootSigners {
  readonly old?: { readonly [name: string]: Signer };
  readonly new?: { readonly [name: string]: Signer };
  readonly namespace?: string;
}

/** Returns a repository without any file. */
export function makeRepository(): MemoryRepository {
  const files = new Map<string, Buffer>();
  let commits = 0;
  return {
    files,
    writePolicy: (policy) => void files.set("policy.json", Buffer.from(`${JSON.stringify(policy, null, 2)}\n`)),
    writeLock: (serial, { signers = {}, paths, changes = {}, part, namespace } = {}) => {
      const own = [...files.keys()].filter((path) => !/^(?:approvals|locks|trust)\/|^clawgress\./.test(path));
      const listed = (paths ?? own).map((path) => [path, digestOf(files.get(path) ?? Buffer.alloc(0))] as const);
      const target = { repository: "egress", branch: "main", group: "default" };
      const named = part === undefined ? {} : { part };
      const bytes = renderLock({
        version: 1,
        ...target,
        ...named,
        serial,
        files: Object.fromEntries(listed),
        ...changes,
      });
      files.set(lockPath(part ?? null), bytes);
      for (const [name, signer] of Object.entries(signers)) {
        files.set(approvalPath(digestOf(bytes), name), signer.sign(bytes, namespace));
      }
      return bytes;
    },
    writeRoot: (json, signers = {}) => {
      const bytes = Buffer.from(`${JSON.stringify(json, null, 2)}\n`);
      files.set(rootPath(json.root), bytes);
      const { namespace = ROOT_NAMESPACE } = signers;
      for (const [by, all] of [
        [json.root - 1, signers.old],
        [json.root, signers.new],
      ] as const) {
        for (const [name, signer] of Object.entries(all ?? {})) {
          files.set(rootApprovalPath(json.root, by, name), signer.sign(bytes, namespace));
        }
      }
      return bytes;
    },
    writeFresh: (serial, validUntil, signers, changes = {}) => {
      const target = { repository: "egress", branch: "main", group: "default" };
      const bytes = renderFresh({ ...target, serial, validUntilMs: Date.parse(validUntil), ...changes });
      files.set(FRESH_PATH, bytes);
      for (const [name, signer] of Object.entries(signers)) {
        files.set(freshApprovalPath(name), signer.sign(bytes, FRESH_NAMESPACE));
      }
    },
    commit: () => {
      commits += 1;
      return readMemory(new Map(files), commits);
    },
  };
}

function readMemory(files: ReadonlyMap<string, Buffer>, number: number): CommitReader {
  const text = [...files].map(([path, bytes]) => `${path} ${digestOf(bytes)}`).join("\n");
  return {
    commit: createHash("sha1").update(`${number}\n${text}`).digest("hex"),
    raw: Buffer.alloc(0),
    object: { tree: "0".repeat(40), parents: [], committer: "", signature: null },
    readFile: async (path, maxBytes) => {
      const bytes = files.get(path) ?? null;
      if (bytes !== null && bytes.length > maxBytes) throw new Error(`${path} is too large for this test`);
      return bytes;
    },
    listFiles: async (folder) => {
      const names = [...files.keys()]
        .filter((path) => path.startsWith(`${folder}/`))
        .map((path) => path.slice(folder.length + 1));
      return names.filter((name) => !name.includes("/")).sort(compareTexts);
    },
  };
}
