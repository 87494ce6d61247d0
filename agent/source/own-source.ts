import { AgentError } from "../errors.ts";
import { isAncestor, readHead, readRawCommit } from "../host/bare-repository.ts";
import { openCommitTree } from "../host/git-command.ts";
import { readCommitObject } from "./commit-reader.ts";
import type { Source } from "./source.ts";

/**
 * Returns the gateway's own repository as a source: what is committed to it goes the same way as what a forge holds, and
 * is verified by the same rules.
 */
export function openOwnSource(folder: string, branch: string): Source {
  return {
    poll: async () => {
      const head = await readHead(folder, branch);
      if (head !== null) return head;
      throw new AgentError("SOURCE_NO_BRANCH", `the gateway's own repository ${folder} has no branch ${branch}`, {
        remedy: "import a first policy with `clawgress policy import file PATH`",
      });
    },
    open: async (commit) => {
      const raw = await readRawCommit(folder, commit);
      return { commit, raw, object: readCommitObject(commit, raw), ...openCommitTree(folder, commit) };
    },
    relate: async (floor, head) => {
      if (floor === head) return "same";
      if (await isAncestor(folder, floor, head)) return "forward";
      return (await isAncestor(folder, head, floor)) ? "behind" : "apart";
    },
    close: async () => {
      // Nothing is held open.
    },
  };
}
