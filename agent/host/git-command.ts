import { AgentError } from "../errors.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import type { Tree } from "../source/read-manifest.ts";
import { type RunResult, run } from "./run.ts";

const TIMEOUT_MS = 60_000;
const MAX_LISTING_BYTES = 16 * 1024 * 1024;

/** Objects as they are: no replacements, no pattern characters in paths, no questions to the user. */
const env = {
  GIT_NO_REPLACE_OBJECTS: "1",
  GIT_LITERAL_PATHSPECS: "1",
  GIT_OPTIONAL_LOCKS: "0",
  GIT_TERMINAL_PROMPT: "0",
  LC_ALL: "C",
};

/** Runs git in a clone of the person who runs this program and returns its result, whatever the exit code is. */
export async function runGit(
  folder: string,
  args: readonly string[],
  stdin = "",
  maxOutputBytes = 1024 * 1024,
): Promise<RunResult> {
  return await run(["git", "-C", folder, ...args], { timeoutMs: TIMEOUT_MS, maxOutputBytes, stdin, env });
}

/** Returns the id of the commit that a revision names, or null when there is none. @throws AgentError USAGE outside a clone */
export async function resolveCommit(folder: string, revision: string): Promise<string | null> {
  const result = await runGit(folder, ["rev-parse", "--verify", "--quiet", "--end-of-options", `${revision}^{commit}`]);
  if (result.exitCode === 0) return result.stdout.trim();
  if (result.stderr.trim() === "") return null;
  throw new AgentError("USAGE", `git cannot use ${folder}: ${result.stderr.trim().split("\n")[0]}`, {
    remedy: "run this in a clone of the policy repository, or name it with --repository-folder",
  });
}

/**
 * Returns the commit before the last one that changed a path, following first parents; null when there is none, or when
 * the clone does not reach back that far.
 */
export async function findChangeBefore(folder: string, revision: string, path: string): Promise<string | null> {
  const args = ["rev-list", "--first-parent", "--max-count=1", "--end-of-options", revision, "--", path];
  const result = await runGit(folder, args);
  const changed = result.exitCode === 0 ? result.stdout.trim() : "";
  return changed === "" ? null : await resolveCommit(folder, `${changed}^1`);
}

/** Returns a commit as a place to read from, straight from Git's objects: filters and attributes play no part. */
export function openCommitTree(folder: string, commit: string): Tree {
  return {
    readFile: async (path, maxBytes) => {
      const [entry] = await listTree(folder, commit, path);
      if (entry === undefined) return null;
      if (entry.mode !== "100644") {
        throw new AgentError("SOURCE_FILE", `${path} has the mode ${entry.mode} in ${commit}; only 100644 is read`, {
          remedy: "keep policy files, locks and approvals as plain files in plain folders",
        });
      }
      const size = await runGit(folder, ["cat-file", "-s", entry.id]);
      if (Number(size.stdout) > maxBytes) {
        throw new AgentError(
          "SOURCE_TOO_LARGE",
          `${path} has ${size.stdout.trim()} bytes; at most ${maxBytes} are read`,
        );
      }
      const blob = await runGit(folder, ["cat-file", "blob", entry.id], "", maxBytes + 4096);
      if (blob.exitCode === 0) return blob.stdoutBytes;
      throw new AgentError("HOST_COMMAND", `git cannot read ${path} in ${commit}: ${blob.stderr.trim()}`);
    },
    listFiles: async (path, maxEntries) => {
      const entries = await listTree(folder, commit, `${path}/`);
      if (entries.length > maxEntries) {
        throw new AgentError(
          "SOURCE_TOO_LARGE",
          `${path} has ${entries.length} entries; at most ${maxEntries} are read`,
        );
      }
      const files = entries.filter((entry) => entry.mode === "100644");
      return files.map((entry) => entry.path.slice(path.length + 1)).sort(compareTexts);
    },
  };
}

interface TreeEntry {
  readonly mode: string;
  readonly id: string;
  readonly path: string;
}

async function listTree(folder: string, commit: string, path: string): Promise<readonly TreeEntry[]> {
  const result = await runGit(folder, ["ls-tree", "-z", "--full-tree", commit, "--", path], "", MAX_LISTING_BYTES);
  if (result.exitCode !== 0) {
    throw new AgentError("HOST_COMMAND", `git cannot list ${path} in ${commit}: ${result.stderr.trim()}`);
  }
  return result.stdout.split("\0").flatMap((line) => {
    const [, mode, id, name] = /^([0-7]{6}) [a-z]+ ([0-9a-f]{40,64})\t(.*)$/s.exec(line) ?? [];
    return mode === undefined || id === undefined || name === undefined ? [] : [{ mode, id, path: name }];
  });
}

/**
 * Returns those of the paths for which git would commit other bytes than the working tree has (line-end conversion,
 * filters): their digests would never match.
 */
export async function listConverted(folder: string, paths: readonly string[]): Promise<readonly string[]> {
  const hash = async (...options: readonly string[]): Promise<readonly string[]> => {
    const result = await runGit(
      folder,
      ["hash-object", ...options, "--stdin-paths"],
      paths.map((path) => `${path}\n`).join(""),
    );
    if (result.exitCode === 0) return result.stdout.trim().split("\n");
    throw new AgentError("HOST_COMMAND", `git hash-object failed: ${result.stderr.trim()}`);
  };
  const [stored, raw] = [await hash(), await hash("--no-filters")];
  return paths.filter((_path, index) => stored[index] !== raw[index]);
}
