import { createInterface } from "node:readline";
import { AgentError } from "../../agent/errors.ts";
import { openTestSource } from "./open-test-source.ts";

/** What one attempt of the child came to. */
export interface Attempt {
  /** `read` and the size of policy.json, or the code of the error. */
  readonly outcome: string;
  readonly message: string;
  readonly tookMs: number;
  /** The most memory that the process ever had. */
  readonly maxRssBytes: number;
}

/** Polls, fetches and reads policy.json once for each line on its standard input, and answers with a line of JSON. */
async function main(url: string, gitFolder: string, timeoutMs: number): Promise<void> {
  const { source } = await openTestSource(url, { timeoutMs }, gitFolder);
  const attempt = async (): Promise<Pick<Attempt, "outcome" | "message">> => {
    try {
      const { signal } = new AbortController();
      const reader = await source.open(await source.poll(signal), signal);
      const bytes = await reader.readFile("policy.json", 64 * 1024 * 1024);
      return { outcome: `read ${bytes?.length ?? "nothing"}`, message: "" };
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      return { outcome: error.code, message: error.message };
    }
  };
  for await (const _ of createInterface({ input: process.stdin })) {
    const startedAt = performance.now();
    const result = await attempt();
    const tookMs = Math.round(performance.now() - startedAt);
    console.log(JSON.stringify({ ...result, tookMs, maxRssBytes: process.resourceUsage().maxRSS * 1024 }));
  }
  await source.close();
}

const [url = "", gitFolder = "", timeoutMs = "30000"] = process.argv.slice(2);
await main(url, gitFolder, Number(timeoutMs));
