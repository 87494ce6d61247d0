import { AgentError, type Json, toAgentError } from "../errors.ts";
import type { HttpClient } from "../host/http.ts";
import type { ObjectStore } from "./object-store.ts";
import type { Remote } from "./remote.ts";
import type { CommitId, Relation } from "./source.ts";

/** What several remotes have to tell about each other; told once, when it begins. */
export interface Notice {
  readonly event: "remote-down" | "remote-up" | "remote-behind";
  readonly remote: string;
  readonly [detail: string]: Json;
}

export interface HeadChoice {
  /**
   * Returns the one head that all remotes which answer agree on: where some are behind others, the newest.
   * @throws AgentError TRUST_APART when they show different histories; the first remote's error when none answers
   */
  poll(signal: AbortSignal): Promise<CommitId>;
  /** Asks the remotes that showed a commit, then the others, until one answers. @throws AgentError of the last one */
  ask<T>(commit: CommitId, question: (http: HttpClient) => Promise<T>): Promise<T>;
}

interface Shown {
  readonly remote: Remote;
  readonly head: CommitId;
}

/** Returns the choice between the heads that remotes show. With one remote it is that one's head. */
export function createHeadChoice(
  remotes: readonly Remote[],
  store: Pick<ObjectStore, "relate">,
  notice: (notice: Notice) => void,
): HeadChoice {
  const trouble = new Map<string, "remote-down" | "remote-behind">();
  let shown: readonly Shown[] = [];
  let newest: CommitId | null = null;

  const tell = (
    remote: Remote,
    now: "remote-down" | "remote-behind" | null,
    details: { [key: string]: Json },
  ): void => {
    if (trouble.get(remote.place) === (now ?? undefined)) return;
    if (now === null) trouble.delete(remote.place);
    else trouble.set(remote.place, now);
    notice({ event: now ?? "remote-up", remote: remote.place, ...details });
  };

  const pollAll = async (signal: AbortSignal): Promise<readonly Shown[]> => {
    const answers = await Promise.allSettled(remotes.map((remote) => remote.poll(signal)));
    const heads: Shown[] = [];
    const errors: AgentError[] = [];
    for (const [index, answer] of answers.entries()) {
      const remote = remotes[index];
      if (remote === undefined) continue;
      if (answer.status === "fulfilled") heads.push({ remote, head: answer.value });
      else {
        const error = toAgentError(answer.reason, "SOURCE_UNREACHABLE", "the poll failed");
        errors.push(error);
        if (remotes.length > 1) tell(remote, "remote-down", { code: error.code, reason: error.message });
      }
    }
    const [first] = errors;
    if (heads.length === 0 && first !== undefined) throw first;
    return heads;
  };

  const relate = (floor: CommitId, head: CommitId, signal: AbortSignal): Promise<Relation> =>
    ask(head, (http) => store.relate(http, floor, head, signal));

  /** Returns the head that has all others behind it. */
  const choose = async (heads: readonly CommitId[], signal: AbortSignal): Promise<CommitId | null> => {
    for (const head of heads) {
      const others = heads.filter((other) => other !== head);
      const relations: Relation[] = [];
      for (const other of others) relations.push(await relate(other, head, signal));
      if (relations.every((relation) => relation === "forward")) return head;
    }
    return null;
  };

  const ask: HeadChoice["ask"] = async (commit, question) => {
    const first = shown.filter(({ head }) => head === commit).map(({ remote }) => remote);
    const others = remotes.filter((remote) => !first.includes(remote));
    let failure: unknown;
    for (const remote of [...first, ...others]) {
      try {
        return await question(remote.http);
      } catch (error) {
        // The first one's reason is the one to tell: the others may never have heard of the commit.
        failure ??= error;
        if (error instanceof AgentError && isFinal(error)) throw error;
      }
    }
    throw failure;
  };

  return {
    ask,
    poll: async (signal) => {
      shown = await pollAll(signal);
      const distinct = [...new Set(shown.map(({ head }) => head))];
      const [only] = distinct;
      if (remotes.length === 1 && only !== undefined) return only;
      const head = await choose(distinct, signal);
      if (head === null) throw disagreement(shown);
      // What the remotes showed a moment ago counts too: while the newest one is down, the others are late, not old.
      const before = newest;
      const isLate = before !== null && before !== head && (await relate(before, head, signal)) === "behind";
      newest = isLate ? before : head;
      for (const { remote, head: its } of shown) {
        tell(remote, its === newest ? null : "remote-behind", { head: its, newest });
      }
      return newest;
    },
  };
}

/** What is wrong with the commit itself is wrong wherever it comes from. */
function isFinal({ code }: AgentError): boolean {
  return code === "SOURCE_FILE" || code === "SOURCE_COMMIT" || code === "HOST_FILE";
}

function disagreement(shown: readonly Shown[]): AgentError {
  const texts = shown.map(({ remote, head }) => `${remote.place} shows ${head}`);
  return new AgentError("TRUST_APART", `the remotes show different histories: ${texts.join(", ")}`, {
    remedy: "find out which one is right and who changed the other; nothing is enforced from either until they agree",
    details: { heads: shown.map(({ remote, head }) => ({ remote: remote.place, head })) },
  });
}
