import { AgentError } from "../errors.ts";
import { readFileBytes } from "../host/files.ts";
import { formatTextIssue } from "../policy/json-text.ts";
import { parseSettings } from "../settings/parse-settings.ts";
import type { Settings } from "../settings/settings.ts";

const MAX_CONFIG_BYTES = 256 * 1024;

/** Returns the validated agent.json. @throws AgentError SETTINGS_INVALID with every issue and its line. */
export async function loadSettings(path: string): Promise<Settings> {
  let bytes: Buffer;
  try {
    bytes = await readFileBytes(path, MAX_CONFIG_BYTES);
  } catch (error) {
    throw new AgentError("SETTINGS_INVALID", (error as Error).message, {
      remedy: "name this gateway's configuration with --config",
      cause: error,
    });
  }
  const result = parseSettings(bytes, path);
  if (result.ok) return result.settings;
  const lines = result.issues.map(formatTextIssue);
  throw new AgentError("SETTINGS_INVALID", lines.join("\n"), {
    remedy: "correct the lines named above; policy-schema/agent.schema.json describes every key",
  });
}
