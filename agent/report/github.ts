import { type Forge, repositoryPath } from "./forge.ts";

/** GitHub's commit statuses: POST /repos/{owner}/{repo}/statuses/{sha} (REST API version 2022-11-28). */
export function describeGithub(repository: string): Forge {
  return {
    name: "github",
    scheme: "Bearer",
    headers: { accept: "application/vnd.github+json", "x-github-api-version": "2022-11-28" },
    path: (commit) => `/repos/${repositoryPath(repository)}/statuses/${commit}`,
    body: (context, { state, description }) => ({ state, description, context }),
    repeats: (answer, { state }) => answer["state"] === state,
    judge: (status, text) => {
      if (status === 422 && /no commit found/i.test(text)) {
        const reason =
          "the forge does not know the commit (422): is report.github.repository the repository that is polled?";
        return { kind: "retry", reason, waitMs: null };
      }
      if (status === 422 && /maximum number of statuses/i.test(text)) {
        return { kind: "drop", reason: "the commit has the maximum number of statuses for this context (422)" };
      }
      return null;
    },
  };
}
