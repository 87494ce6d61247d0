import type { Status } from "./describe.ts";
import type { Forge } from "./forge.ts";

/** GitLab cannot go from `pending` to an end in every version, and knows one word for what went wrong. */
const states: { readonly [state in Status["state"]]: string } = {
  pending: "running",
  success: "success",
  failure: "failed",
  error: "failed",
};

/**
 * GitLab's commit statuses: POST /projects/{id}/statuses/{sha} below /api/v4. The branch is said each time, or the status lands in
 * whichever pipeline is the newest. Nothing is ever listed: what was posted is known here.
 * @param repository its number, or its path with groups
 */
export function describeGitlab(repository: string, branch: string): Forge {
  return {
    name: "gitlab",
    scheme: "Bearer",
    headers: { accept: "application/json" },
    path: (commit) => `/projects/${encodeURIComponent(repository)}/statuses/${commit}`,
    body: (name, { state, description }) => ({ state: states[state], ref: branch, name, description }),
    repeats: (answer, { state }) => answer["status"] === states[state],
    judge: (status, text, { state }) => {
      const [, from] = /cannot transition status via \S+ from :([a-z_]+)/i.exec(text) ?? [];
      // It is there already: another process posted it, or its answer got lost on the way.
      if (status === 400 && from === states[state]) return { kind: "posted" };
      if (status === 409) return { kind: "retry", reason: "the forge is busy with this status (409)", waitMs: null };
      return null;
    },
  };
}
