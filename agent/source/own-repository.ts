import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { AgentError } from "../errors.ts";
import { commitTree, initBareRepository, readHead, tidyRepository } from "../host/bare-repository.ts";
import { readFileBytes, readFileIfAny, replaceFile } from "../host/files.ts";
import { openCommitTree } from "../host/git-command.ts";
import { makeSshKey, readKeyFile, signWithSshKeygen } from "../host/ssh-keygen.ts";
import { plainText } from "../plain-text.ts";
import type { OwnRepositoryPaths } from "../settings/paths.ts";
import type { RepositorySettings } from "../settings/settings.ts";
import { approvalPath, POLICY_NAMESPACE } from "../trust/approvals.ts";
import { digestOf, LOCK_PATH, type Lock, MAX_LOCK_BYTES, renderLock } from "../trust/lock.ts";
import { parseLock } from "../trust/parse-lock.ts";
import { MAX_ROOT_BYTES, rootPath } from "../trust/root.ts";

/** A change to the gateway's own repository. */
export interface OwnChange {
  readonly policy: Buffer;
  /** Who asks for it: a user of this machine, or the name of an API key. */
  readonly by: string;
  readonly reason: string;
  readonly atMs: number;
}

export interface OwnCommit {
  readonly commit: string;
  readonly serial: number;
}

type Repository = Pick<RepositorySettings, "name" | "branch" | "group" | "policyPath">;

/** The only signer of the gateway's own repository. */
const PRINCIPAL = "gateway";
/** Git must store the bytes that were signed. */
const ATTRIBUTES = "* -text\n";
const COMMITS_BETWEEN_TIDYING = 200;
const MAX_REASON_BYTES = 2000;

/**
 * Makes the gateway's own repository: a key, a root of trust that knows only that key, and a bare repository without a
 * commit. What is there already is kept, so that it can be run again after it was cut off. @throws AgentError HOST_*
 */
export async function initOwnRepository(paths: OwnRepositoryPaths, repository: Repository): Promise<void> {
  // Other users pass through the folders above on their way to releases; only this one is private.
  const own = dirname(paths.key);
  await mkdir(dirname(own), { recursive: true });
  await mkdir(own, { recursive: true, mode: 0o700 });
  const publicKey = await makeSshKey(paths.key, `clawgress ${repository.name}`);
  const role = { principals: [PRINCIPAL], threshold: 1 };
  const root = {
    version: 1,
    root: 1,
    repository: repository.name,
    principals: { [PRINCIPAL]: { keys: [publicKey] } },
    roles: { policy: role, root: role },
  };
  if ((await readFileIfAny(paths.root, MAX_ROOT_BYTES)) === null) {
    await replaceFile(paths.root, `${JSON.stringify(root, null, 2)}\n`);
  }
  await replaceFile(paths.allowedSigners, `* namespaces="git" ${publicKey}\n`);
  const { branch } = repository;
  await initBareRepository(paths.repository, { branch, keyFile: paths.key, allowedSignersFile: paths.allowedSigners });
}

/**
 * Commits a policy to the gateway's own repository: with a lock of the next serial, approved and signed by the gateway's
 * key. The policy must have been judged before. @throws AgentError STATE_LOCKED when somebody else committed meanwhile; HOST_*
 */
export async function commitOwnPolicy(
  paths: OwnRepositoryPaths,
  repository: Repository,
  gateway: string,
  change: OwnChange,
): Promise<OwnCommit> {
  const parent = await readHead(paths.repository, repository.branch);
  const serial = 1 + (parent === null ? 0 : await readSerial(paths.repository, parent));
  const { name, branch, group, policyPath } = repository;
  const files = { [policyPath]: digestOf(change.policy) };
  const lock: Lock = { version: 1, repository: name, branch, group, serial, files };
  const lockBytes = renderLock(lock);
  const signature = await signWithSshKeygen(await readKeyFile(paths.key), POLICY_NAMESPACE, lockBytes);
  const tree = new Map([
    [".gitattributes", Buffer.from(ATTRIBUTES)],
    [rootPath(1), await readFileBytes(paths.root, MAX_ROOT_BYTES)],
    [policyPath, change.policy],
    [LOCK_PATH, lockBytes],
    [approvalPath(digestOf(lockBytes), PRINCIPAL), signature],
  ]);
  const by = personName(change.by);
  const commit = await commitTree(paths.repository, {
    ...{ branch, parent, files: tree },
    author: { name: by, email: `${by.replace(/[^A-Za-z0-9._-]+/g, "-")}@${gateway}` },
    committer: { name: `clawgress ${gateway}`, email: `clawgress@${gateway}` },
    atS: Math.floor(change.atMs / 1000),
    message: messageOf(change, serial, by),
  });
  if (serial % COMMITS_BETWEEN_TIDYING === 0) await tidyRepository(paths.repository);
  return { commit, serial };
}

async function readSerial(folder: string, commit: string): Promise<number> {
  const bytes = await openCommitTree(folder, commit).readFile(LOCK_PATH, MAX_LOCK_BYTES);
  const parsed = bytes === null ? null : parseLock(bytes);
  if (parsed?.ok === true) return parsed.lock.serial;
  throw new AgentError("TRUST_LOCK_INVALID", `${LOCK_PATH} of ${commit} in ${folder} is missing or damaged`, {
    remedy: "somebody else committed there: take the branch back to the last commit of the gateway",
  });
}

function messageOf({ reason }: OwnChange, serial: number, by: string): string {
  const text = plainText(reason, MAX_REASON_BYTES);
  const subject = text === "" ? `policy: serial ${serial}` : `policy: ${text}`;
  return `${subject}\n\nSerial: ${serial}\nRequested-by: ${by}\n`;
}

/** Git refuses names without a letter or digit, and drops some characters of others. */
function personName(by: string): string {
  const name = plainText(by, 100).replace(/[<>\n]/g, "");
  return /[\p{L}\p{N}]/u.test(name) ? name : "unknown";
}
