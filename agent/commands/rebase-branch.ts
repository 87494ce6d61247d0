import { AgentError } from "../errors.ts";
import { resolveCommit, runGit } from "../host/git-command.ts";
import { openWorkTree } from "../host/work-tree.ts";
import { LOCK_PATH, MAX_LOCK_BYTES } from "../trust/lock.ts";
import { parseLock } from "../trust/parse-lock.ts";
import type { Output } from "./output.ts";

/** More commits than this in a pull request are not brought up to date one by one. */
const MAX_STOPS = 1000;
/** Locks and approvals are made anew at the end; of all else, nobody but a person knows what was meant. */
const madeAnew = /^(?:clawgress\.lock\.json|locks\/[^/]+\.json|approvals\/[0-9a-f]{16}\/[^/]+\.sig)$/;

/**
 * Brings the checked out branch on top of the branch that gateways follow, as the server has it now. Conflicts in locks
 * and approvals, which two changes in flight always have, are settled in favour of that branch: the caller makes new ones.
 * Returns false when it was up to date. Any other conflict leaves everything as it was.
 * @throws AgentError USAGE
 */
export async function rebaseBranch(folder: string, branch: string | null, output: Output): Promise<boolean> {
  const target = branch ?? (await readBranch(folder)) ?? "main";
  const current = (await git(folder, ["symbolic-ref", "--short", "--quiet", "HEAD"])).trim();
  if (current === "" || current === target) {
    throw new AgentError(
      "USAGE",
      `the branch ${target} itself cannot be brought up to date with a pull request's changes`,
      {
        remedy: "switch to the branch of the pull request first",
      },
    );
  }
  if ((await git(folder, ["status", "--porcelain", "--untracked-files=no"])).trim() !== "") {
    throw new AgentError("USAGE", "the clone has changes that are not committed", { remedy: "commit them first" });
  }
  const fetched = await runGit(folder, ["fetch", "--quiet", "origin", target]);
  if (fetched.exitCode !== 0) {
    const reason = fetched.stderr.trim().split("\n").at(-1) ?? "";
    throw new AgentError("USAGE", `git cannot fetch ${target} from origin: ${reason}`, {
      remedy: "correct the remote",
    });
  }
  const base = await resolveCommit(folder, `refs/remotes/origin/${target}`);
  if (base === null) throw new AgentError("USAGE", `origin has no branch ${target}`);
  if ((await runGit(folder, ["merge-base", "--is-ancestor", base, "HEAD"])).exitCode === 0) {
    output.line(`The branch is up to date with origin/${target}.`);
    return false;
  }
  const step = (args: readonly string[]) => runGit(folder, ["-c", "core.editor=true", "rebase", ...args]);
  let result = await step(["--no-autostash", "--empty=drop", base]);
  for (let stops = 0; result.exitCode !== 0; stops++) {
    const conflicts = await listConflicts(folder);
    const foreign = conflicts.filter((path) => !madeAnew.test(path));
    const isStuck = conflicts.length === 0 && !(await hasStaged(folder));
    if (foreign.length > 0 || stops >= MAX_STOPS) throw await giveUp(folder, target, foreign, result.stderr);
    for (const path of conflicts) await takeTheirs(folder, path);
    // A commit of which nothing is left but its lock is left out.
    result = (await hasStaged(folder)) ? await step(["--continue"]) : await step(["--skip"]);
    if (isStuck && result.exitCode !== 0) throw await giveUp(folder, target, [], result.stderr);
  }
  output.line(`Brought ${current} on top of origin/${target} (${base.slice(0, 12)}).`);
  return true;
}

async function readBranch(folder: string): Promise<string | null> {
  const bytes = await openWorkTree(folder).readFile(LOCK_PATH, MAX_LOCK_BYTES);
  const parsed = bytes === null ? null : parseLock(bytes);
  return parsed?.ok === true ? parsed.lock.branch : null;
}

async function listConflicts(folder: string): Promise<readonly string[]> {
  const text = await git(folder, ["diff", "--name-only", "-z", "--diff-filter=U"]);
  return text.split("\0").filter((path) => path !== "");
}

async function hasStaged(folder: string): Promise<boolean> {
  return (await runGit(folder, ["diff", "--cached", "--quiet"])).exitCode !== 0;
}

/** In a rebase, `ours` is the branch that is built upon. A file that it does not have goes. */
async function takeTheirs(folder: string, path: string): Promise<void> {
  const taken = await runGit(folder, ["checkout", "--quiet", "--ours", "--", path]);
  await git(folder, taken.exitCode === 0 ? ["add", "--", path] : ["rm", "--quiet", "--force", "--", path]);
}

async function giveUp(folder: string, target: string, paths: readonly string[], reason: string): Promise<AgentError> {
  await runGit(folder, ["rebase", "--abort"]);
  const what = paths.length > 0 ? `both sides changed ${paths.join(", ")}` : (reason.trim().split("\n")[0] ?? "");
  return new AgentError("USAGE", `the branch cannot be brought up to date by itself: ${what}`, {
    remedy: `run \`git rebase origin/${target}\`, settle what is meant by hand, and then \`clawgress sign\``,
  });
}

async function git(folder: string, args: readonly string[]): Promise<string> {
  const result = await runGit(folder, args);
  if (result.exitCode === 0 || result.stderr.trim() === "") return result.stdout;
  throw new AgentError("USAGE", `git ${args[0]}: ${result.stderr.trim().split("\n")[0]}`, {
    remedy: "run this in a clone of the policy repository, or name it with --repository-folder",
  });
}
