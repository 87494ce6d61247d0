import { AgentError } from "../errors.ts";
import { runChecked } from "./run.ts";

/**
 * Returns a line for each connection that the kernel tracks, as `conntrack -L` prints it; null when that program is missing,
 * fails, or needs more than the limits, which are those of each family.
 */
export async function listConnections(limits: {
  readonly timeoutMs: number;
  readonly maxOutputBytes: number;
}): Promise<readonly string[] | null> {
  try {
    const lines: string[] = [];
    for (const family of ["ipv4", "ipv6"]) {
      const text = await runChecked(["conntrack", "-L", "-f", family], limits);
      for (const line of text.split("\n")) if (line !== "") lines.push(line);
    }
    return lines;
  } catch (error) {
    if (error instanceof AgentError) return null;
    throw error;
  }
}
