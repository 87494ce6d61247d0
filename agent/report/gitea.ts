import { type Forge, repositoryPath } from "./forge.ts";

/** Commit statuses of Gitea and Forgejo: POST /repos/{owner}/{repo}/statuses/{sha} below /api/v1. */
export function describeGitea(repository: string): Forge {
  return {
    name: "gitea",
    scheme: "token",
    headers: { accept: "application/json" },
    path: (commit) => `/repos/${repositoryPath(repository)}/statuses/${commit}`,
    body: (context, { state, description }) => ({ state, description, context }),
    // It takes a `state` and answers with a `status`.
    repeats: (answer, { state }) => answer["status"] === state,
    judge: (status, text) => {
      if (status !== 404 || !/object does not exist|sha|commit/i.test(text)) return null;
      const reason =
        "the forge does not know the commit (404): is report.gitea.repository the repository that is polled?";
      return { kind: "retry", reason, waitMs: null };
    },
  };
}
