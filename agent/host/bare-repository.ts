import fs from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { AgentError } from "../errors.ts";
import { type RunResult, run } from "./run.ts";

/** Who stands on a commit, and when. */
export interface CommitPerson {
  readonly name: string;
  readonly email: string;
}

export interface NewCommit {
  readonly branch: string;
  /** The head that it follows; null for the first one. */
  readonly parent: string | null;
  /** Path → bytes of the whole tree. */
  readonly files: ReadonlyMap<string, Buffer>;
  readonly author: CommitPerson;
  readonly committer: CommitPerson;
  /** Seconds since the epoch. */
  readonly atS: number;
  readonly message: string;
}

const TIMEOUT_MS = 60_000;

/** Nothing of the caller's shell or of the machine's Git configuration plays a part. */
const env = {
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_NO_REPLACE_OBJECTS: "1",
  GIT_TERMINAL_PROMPT: "0",
  LC_ALL: "C",
};

/**
 * Makes a bare repository whose commits are signed with an SSH key and durable once they are made; any Git reads and
 * verifies them. @throws AgentError HOST_COMMAND, HOST_MISSING without git
 */
export async function initBareRepository(
  folder: string,
  options: { readonly branch: string; readonly keyFile: string; readonly allowedSignersFile: string },
): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await git(folder, ["init", "--quiet", "--bare", `--initial-branch=${options.branch}`, "."]);
  const settings: readonly (readonly [key: string, value: string])[] = [
    ["gpg.format", "ssh"],
    ["user.signingkey", options.keyFile],
    ["gpg.ssh.allowedSignersFile", options.allowedSignersFile],
    ["core.fsync", "committed,loose-object,reference"],
    ["core.logAllRefUpdates", "true"],
    ["gc.auto", "0"],
  ];
  for (const [key, value] of settings) await git(folder, ["config", key, value]);
}

/** Returns the head of a branch; null when it has no commit yet. @throws AgentError HOST_COMMAND when the repository is gone or damaged */
export async function readHead(folder: string, branch: string): Promise<string | null> {
  const { resolveRef } = await loadGit();
  try {
    return await resolveRef({ fs, gitdir: folder, ref: `refs/heads/${branch}` });
  } catch (error) {
    if (isNotFound(error) && (await runIn(folder, ["rev-parse", "--git-dir"])).exitCode === 0) return null;
    throw unreadable(folder, error);
  }
}

/** Returns whether a commit is another one's, or comes before it; one that is not there comes before none. */
export async function isAncestor(folder: string, earlier: string, later: string): Promise<boolean> {
  if (earlier === later) return true;
  const { isDescendent } = await loadGit();
  try {
    return await isDescendent({ fs, gitdir: folder, oid: later, ancestor: earlier, depth: -1 });
  } catch (error) {
    if (isNotFound(error)) return false;
    throw unreadable(folder, error);
  }
}

/** Returns the raw bytes of a commit object. @throws AgentError HOST_COMMAND */
export async function readRawCommit(folder: string, commit: string): Promise<Buffer> {
  const { readObject } = await loadGit();
  try {
    const found = await readObject({ fs, gitdir: folder, oid: commit, format: "content" });
    if (found.type === "commit" && found.object instanceof Uint8Array) return Buffer.from(found.object);
  } catch (error) {
    throw unreadable(folder, error);
  }
  throw new AgentError("HOST_COMMAND", `${commit} in ${folder} is no commit`, { remedy: REMEDY });
}

const REMEDY = "restore the folder from a backup, or run `clawgress init --gateway` on an empty state folder";

/** Loaded when there is a repository of our own to read: a gateway with one elsewhere never needs its memory. */
async function loadGit(): Promise<Pick<typeof import("isomorphic-git"), "resolveRef" | "isDescendent" | "readObject">> {
  return (await import("isomorphic-git")).default;
}

function isNotFound(error: unknown): boolean {
  return (error as { readonly code?: unknown } | null)?.code === "NotFoundError";
}

function unreadable(folder: string, error: unknown): AgentError {
  const reason = error instanceof Error ? firstLine(error.message) : String(error);
  return new AgentError("HOST_COMMAND", `cannot read the repository ${folder}: ${reason}`, {
    remedy: REMEDY,
    cause: error,
  });
}

/**
 * Commits a whole tree, signed, and moves the branch from the parent to it; returns the commit. Nothing is checked out.
 * @throws AgentError STATE_LOCKED when the branch has moved meanwhile; HOST_COMMAND
 */
export async function commitTree(folder: string, commit: NewCommit): Promise<string> {
  const scratch = await mkdtemp(join(folder, "index-"));
  try {
    const index = { GIT_INDEX_FILE: join(scratch, "index") };
    const lines: string[] = [];
    for (const [path, bytes] of commit.files) {
      const blob = (await git(folder, ["hash-object", "-w", "--stdin"], bytes)).stdout.trim();
      lines.push(`100644 ${blob}\t${path}\n`);
    }
    await git(folder, ["update-index", "--add", "--index-info"], lines.join(""), index);
    const tree = (await git(folder, ["write-tree"], "", index)).stdout.trim();
    const parents = commit.parent === null ? [] : ["-p", commit.parent];
    const made = await git(folder, ["commit-tree", "-S", ...parents, tree], commit.message, people(commit));
    const id = made.stdout.trim();
    await moveBranch(folder, commit, id);
    return id;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function moveBranch(folder: string, { branch, parent, message }: NewCommit, id: string): Promise<void> {
  const reason = message.split("\n", 1)[0] ?? "";
  const argv = ["update-ref", "--create-reflog", "-m", reason, `refs/heads/${branch}`, id, parent ?? "0".repeat(40)];
  const result = await runIn(folder, argv);
  if (result.exitCode === 0) return;
  throw new AgentError("STATE_LOCKED", `the branch ${branch} moved meanwhile: ${firstLine(result.stderr)}`, {
    remedy: "look at what was committed, and try again",
  });
}

/** Packs what many commits left lying about; readers are not disturbed. Never rejects: it only saves room. */
export async function tidyRepository(folder: string): Promise<void> {
  await runIn(folder, ["gc", "--quiet"]).catch(() => {
    // The next one tries again.
  });
}

function people({ author, committer, atS }: NewCommit): { readonly [name: string]: string } {
  const date = `${atS} +0000`;
  return {
    ...{ GIT_AUTHOR_NAME: author.name, GIT_AUTHOR_EMAIL: author.email, GIT_AUTHOR_DATE: date },
    ...{ GIT_COMMITTER_NAME: committer.name, GIT_COMMITTER_EMAIL: committer.email, GIT_COMMITTER_DATE: date },
  };
}

async function git(
  folder: string,
  args: readonly string[],
  stdin: string | Buffer = "",
  extra: { readonly [name: string]: string } = {},
): Promise<RunResult> {
  const result = await runIn(folder, args, stdin, extra);
  if (result.exitCode === 0) return result;
  throw new AgentError("HOST_COMMAND", `git ${args[0]} failed in ${folder}: ${firstLine(result.stderr)}`);
}

async function runIn(
  folder: string,
  args: readonly string[],
  stdin: string | Buffer = "",
  extra: { readonly [name: string]: string } = {},
): Promise<RunResult> {
  const argv = ["git", "-C", folder, ...args] as const;
  return await run(argv, { timeoutMs: TIMEOUT_MS, stdin, env: { ...env, ...extra } });
}

function firstLine(text: string): string {
  return text.trim().split("\n", 1)[0] ?? "";
}
