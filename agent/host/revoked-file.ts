import { AgentError } from "../errors.ts";
import { quoteText } from "../policy/parsed.ts";
import { readFileBytes } from "./files.ts";

const MAX_BYTES = 256 * 1024;

/**
 * Returns the fingerprints in a file, one a line; none when there is no path. @throws AgentError HOST_FILE when it cannot
 * be read, SETTINGS_INVALID for a line that is none: a revocation that is not understood must not pass for none.
 */
export async function readRevokedFile(path: string | null): Promise<ReadonlySet<string>> {
  if (path === null) return new Set();
  const text = (await readFileBytes(path, MAX_BYTES)).toString("utf8");
  const fingerprints = new Set<string>();
  for (const [index, line] of text.split("\n").entries()) {
    const [first = ""] = line.replace(/#.*$/s, "").trim().split(/\s+/);
    if (first === "") continue;
    if (!/^SHA256:[A-Za-z0-9+/]{43}$/.test(first)) {
      throw new AgentError("SETTINGS_INVALID", `${path}:${index + 1}: ${quoteText(first)} is no fingerprint of a key`, {
        remedy: "write what `ssh-keygen -l -f KEY.pub` prints: SHA256: and 43 characters",
      });
    }
    fingerprints.add(first);
  }
  return fingerprints;
}
