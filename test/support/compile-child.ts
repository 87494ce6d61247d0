import { compile } from "../../agent/compile/compile.ts";
import { parsePolicy } from "../../agent/policy/parse-policy.ts";
import { defaultCompileSettings } from "../../agent/settings/parse-settings.ts";
import { MAX_POLICY_BYTES } from "../../agent/source/read-policy-files.ts";

/** What a policy of so many names took: in milliseconds, and at most in memory. */
export interface Compiled {
  readonly tookMs: number;
  readonly maxRssBytes: number;
  readonly artifacts: number;
}

/** Makes a policy of so many names, reads and compiles it as the agent does, and prints what that took. */
function main(count: number): void {
  const domains = Array.from({ length: count }, (_, index) => `host-${index}.example.com`);
  const text = Buffer.from(JSON.stringify({ version: 1, allow: { domains, ports: [443] } }));
  const startedMs = performance.now();
  const result = parsePolicy(text, "policy.json", { maxBytes: MAX_POLICY_BYTES });
  if (!result.ok) throw new Error(result.issues[0]?.message);
  const { artifacts } = compile({ policy: result.policy, settings: defaultCompileSettings });
  const tookMs = Math.round(performance.now() - startedMs);
  const maxRssBytes = process.resourceUsage().maxRSS * 1024;
  console.log(JSON.stringify({ tookMs, maxRssBytes, artifacts: artifacts.length } satisfies Compiled));
}

main(Number(process.argv[2]));
