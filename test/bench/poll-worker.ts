import { monotonicMs } from "../../agent/host/clock.ts";
import { runChecked } from "../../agent/host/run.ts";
import type { RepositorySettings } from "../../agent/settings/settings.ts";
import { openSource } from "../../agent/source/open-source.ts";

export interface PollParams {
  readonly settings: RepositorySettings & { readonly url: string };
  readonly gitFolder: string;
  readonly dnsServer: string;
  /** `git` arguments in front of `ls-remote URL REF`. */
  readonly gitArgv: readonly string[];
  readonly polls: number;
  readonly lists: number;
}

export interface PollResult {
  readonly pollsMs: readonly number[];
  readonly listsMs: readonly number[];
}

/** Polls on one kept connection, after one poll that is not counted, and lists by git, in turns. */
export async function pollAndList(params: PollParams): Promise<PollResult> {
  const { settings, gitFolder, dnsServer, gitArgv, polls, lists } = params;
  const source = await openSource(settings, {
    ...{ gitFolder, dnsServers: [dnsServer], dnsPort: 53 },
    notice: () => {},
  });
  const { signal } = new AbortController();
  const timed = async (work: () => Promise<unknown>): Promise<number> => {
    const startedMs = monotonicMs();
    await work();
    return monotonicMs() - startedMs;
  };
  const list = (): Promise<string> =>
    runChecked(["git", ...gitArgv, "ls-remote", settings.url, "refs/heads/main"], { timeoutMs: 10_000 });
  const result = { pollsMs: [] as number[], listsMs: [] as number[] };
  if (polls > 0) await source.poll(signal);
  for (let turn = 0; turn < Math.max(polls, lists); turn += 1) {
    if (turn < polls) result.pollsMs.push(await timed(() => source.poll(signal)));
    if (turn < lists) result.listsMs.push(await timed(list));
  }
  await source.close();
  return result;
}
