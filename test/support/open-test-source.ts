import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RepositorySettings } from "../../agent/settings/settings.ts";
import type { Notice } from "../../agent/source/head-choice.ts";
import { openSource } from "../../agent/source/open-source.ts";
import type { Source } from "../../agent/source/source.ts";

export const MIB = 1024 * 1024;

/** Returns settings for a test server, with short limits. */
export function testSettings(url: string, more: Partial<RepositorySettings> = {}): RepositorySettings {
  return {
    url,
    branch: "main",
    name: "test",
    group: "default",
    policyPath: "policy.json",
    caFile: null,
    pinnedKeys: [],
    proxy: null,
    username: "git",
    tokenFile: null,
    timeoutMs: 10_000,
    maxPackBytes: 16 * MIB,
    mirrors: [],
    ...more,
  };
}

/** Returns a source with its cache in a new temporary folder unless one is given. */
export async function openTestSource(
  url: string,
  more: Partial<RepositorySettings> = {},
  gitFolder: string = join(mkdtempSync(join(tmpdir(), "clawgress-cache-")), "git"),
): Promise<{ source: Source; gitFolder: string; notices: readonly Notice[] }> {
  const notices: Notice[] = [];
  const source = await openSource(
    { ...testSettings(url, more), url },
    {
      ...{ gitFolder, dnsServers: [], dnsPort: 53 },
      notice: (notice) => notices.push(notice),
    },
  );
  return { source, gitFolder, notices };
}

/** A signal that nothing aborts. */
export function quiet(): AbortSignal {
  return new AbortController().signal;
}
