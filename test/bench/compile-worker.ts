import { buffer } from "node:stream/consumers";
import { compile } from "../../agent/compile/compile.ts";
import { monotonicMs } from "../../agent/host/clock.ts";
import { parsePolicy } from "../../agent/policy/parse-policy.ts";
import { defaultCompileSettings } from "../../agent/settings/parse-settings.ts";

export interface CompileResult {
  readonly parseMs: number;
  readonly compileMs: number;
  readonly bytes: number;
  /** Peak resident memory of the process. */
  readonly peakBytes: number;
}

/** Parses and compiles the policy on standard input as the agent does. */
export async function compileInput(): Promise<CompileResult> {
  const text = await buffer(process.stdin);
  const startedMs = monotonicMs();
  const result = parsePolicy(text, "policy.json", { maxBytes: 64 * 1024 * 1024 });
  if (!result.ok) throw new Error(`the policy is refused: ${result.issues[0]?.message}`);
  const parsedMs = monotonicMs();
  const release = compile({ policy: result.policy, settings: defaultCompileSettings });
  const bytes = release.artifacts.reduce((sum, artifact) => sum + artifact.bytes.length, 0);
  return { parseMs: parsedMs - startedMs, compileMs: monotonicMs() - parsedMs, bytes, peakBytes: peakBytes() };
}

/** Writes the zone and the set of the policy on standard input without looking at it: what a script of ten lines would do. */
export async function writePlainly(): Promise<CompileResult> {
  const text = await buffer(process.stdin);
  const startedMs = monotonicMs();
  const { allow } = JSON.parse(text.toString()) as { allow: { domains?: string[]; ips?: string[] } };
  const parsedMs = monotonicMs();
  let zone = "$TTL 60\n@ SOA localhost. root.localhost. 1 3600 600 86400 60\n@ NS localhost.\n";
  for (const name of allow.domains ?? []) zone += `${name} CNAME rpz-passthru.\n`;
  const set = `add element inet t allowed { ${(allow.ips ?? []).join(", ")} }\n`;
  const bytes = Buffer.from(zone).length + Buffer.from(set).length;
  return { parseMs: parsedMs - startedMs, compileMs: monotonicMs() - parsedMs, bytes, peakBytes: peakBytes() };
}

function peakBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}
