import { addApiKey, readApiKeys, removeApiKey, type Scope, scopes } from "../api/keys.ts";
import { AgentError } from "../errors.ts";
import { nowMs } from "../host/clock.ts";
import { pathsOf } from "../settings/paths.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";
import { renderTable } from "./table.ts";

/** Makes a key of the HTTP API and shows it, this once. Returns 0. @throws AgentError USAGE, STATE_CORRUPT, HOST_FILE */
export async function addKey(
  options: { readonly config: string; readonly name: string; readonly scope: string },
  output: Output,
): Promise<number> {
  const { apiKeys } = pathsOf(await loadSettings(options.config));
  const scope = scopes.find((known) => known === options.scope);
  if (scope === undefined) {
    throw new AgentError("USAGE", `there is no scope ${options.scope}`, {
      remedy: `choose one of ${scopes.join(", ")}`,
    });
  }
  const key = await addApiKey(apiKeys, options.name, scope satisfies Scope, new Date(nowMs()).toISOString());
  output.line(key);
  output.note("It is not kept anywhere, and not shown again.");
  output.document({ name: options.name, scope, key });
  return 0;
}

/** Lists the keys by name. Returns 0. @throws AgentError STATE_CORRUPT */
export async function listKeys(options: { readonly config: string }, output: Output): Promise<number> {
  const keys = await readApiKeys(pathsOf(await loadSettings(options.config)).apiKeys);
  const rows = keys.map(({ name, scope, createdAt }) => [name, scope, createdAt]);
  for (const line of renderTable(["name", "may", "since"], rows)) output.line(line);
  output.document({ keys: keys.map(({ name, scope, createdAt }) => ({ name, scope, createdAt })) });
  return 0;
}

/** Removes a key: it is refused from the next call on. Returns 0. @throws AgentError USAGE, STATE_CORRUPT */
export async function removeKey(
  options: { readonly config: string; readonly name: string },
  output: Output,
): Promise<number> {
  await removeApiKey(pathsOf(await loadSettings(options.config)).apiKeys, options.name);
  output.line(`${options.name} is removed`);
  output.document({ removed: options.name });
  return 0;
}
