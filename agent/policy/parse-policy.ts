import { createIssueSink, hasErrors, sortIssues } from "./issue-log.ts";
import { lintExpiry } from "./lint-expiry.ts";
import { type LoadOptions, loadSources } from "./load-sources.ts";
import { normalizePolicy } from "./normalize.ts";
import type { PolicyResult } from "./policy.ts";
import { beginPolicy, endPolicy, forgetTexts, type PolicyMemory } from "./policy-memory.ts";
import { runPolicyTests } from "./policy-tests.ts";
import { findUnsupported } from "./unsupported.ts";

export interface PolicyOptions extends LoadOptions {
  /** `skip` leaves the policy's own tests out, to look at a policy whose tests fail. */
  readonly tests?: "run" | "skip";
  /** Of the policy that was read last; it only makes this one faster. */
  readonly memory?: PolicyMemory;
  /** Seconds since the epoch: warns of what has expired by then, or will soon. It never changes what the policy means. */
  readonly nowS?: number;
}

/**
 * Returns the normalised policy of a file and of what it includes, and its warnings, or every reason why it is refused,
 * in the order of the text. The stages are: bytes to JSON, JSON to the shape of the schema, shape to meaning, meaning to
 * the answers that its own tests expect; a stage with errors ends it.
 */
export function parsePolicy(bytes: Uint8Array, file: string, options: PolicyOptions = {}): PolicyResult {
  const { tests, memory, nowS, ...loading } = options;
  const sink = createIssueSink();
  const texts = memory === undefined ? {} : { texts: memory.texts };
  const sources = loadSources(bytes, file, { ...loading, ...texts }, sink);
  if (memory !== undefined) forgetTexts(memory, sources);
  const inOrder = () => sortIssues(sink.issues, [file, ...sources.map(({ log }) => log.locate("").file)]);
  const [main] = sources;
  if (main === undefined || hasErrors(sink)) return { ok: false, issues: inOrder() };
  for (const { document, log } of sources) for (const issue of findUnsupported(document, log.locate)) sink.add(issue);
  if (memory !== undefined) beginPolicy(memory, sources);
  const policy = normalizePolicy([main, ...sources.slice(1)], memory);
  if (!hasErrors(sink) && tests !== "skip") runPolicyTests(policy, sources);
  if (nowS !== undefined) for (const issue of lintExpiry(policy, nowS)) sink.add(issue);
  const issues = inOrder();
  if (memory !== undefined && !hasErrors(sink)) endPolicy(memory);
  return hasErrors(sink) ? { ok: false, issues } : { ok: true, policy, warnings: issues };
}
