import type { RepositorySettings } from "../settings/settings.ts";
import { createHeadChoice, type Notice } from "./head-choice.ts";
import { openObjectStore } from "./object-store.ts";
import { openRemote } from "./remote.ts";
import type { Source } from "./source.ts";

export interface SourceOptions {
  /** The object cache; made, replaced and removed as needed. */
  readonly gitFolder: string;
  /** Resolvers to ask for the forge's name; empty for the system's lookup. */
  readonly dnsServers: readonly string[];
  readonly dnsPort: number;
  /** Hears of what changes between several remotes. */
  readonly notice: (notice: Notice) => void;
}

/**
 * Returns the repository as its remotes together show it. They share one cache, in which objects are known by their hashes.
 * Nothing is sent before the first poll.
 * @throws AgentError SETTINGS_INVALID for a URL
 */
export async function openSource(
  settings: RepositorySettings & { readonly url: string },
  options: SourceOptions,
): Promise<Source> {
  const { branch, timeoutMs, maxPackBytes, mirrors } = settings;
  const { dnsServers, dnsPort } = options;
  const remotes = [settings, ...mirrors].map((one) => openRemote(one, { branch, timeoutMs, dnsServers, dnsPort }));
  const store = openObjectStore({ folder: options.gitFolder, timeoutMs, maxPackBytes });
  const choice = createHeadChoice(remotes, store, options.notice);
  return {
    poll: (signal) => choice.poll(signal),
    open: (commit, signal) => choice.ask(commit, (http) => store.open(http, commit, signal)),
    relate: (floor, head, signal) => choice.ask(head, (http) => store.relate(http, floor, head, signal)),
    close: async () => {
      for (const { http } of remotes) await http.close();
    },
  };
}
