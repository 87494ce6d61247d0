import type { PolicyDocument } from "./document.ts";
import { createIssueLog, sortIssues } from "./issue-log.ts";
import { type JsonTextOptions, parseJsonText, type TextIssue } from "./json-text.ts";
import { normalizePolicy } from "./normalize.ts";
import type { Issue, PolicyResult } from "./policy.ts";
import { runPolicyTests } from "./policy-tests.ts";
import { validate } from "./policy-validator.generated.mjs";
import { explainSchemaErrors } from "./schema-issues.ts";
import { findUnsupported } from "./unsupported.ts";

export interface PolicyOptions extends Omit<JsonTextOptions, "file"> {
  /** `skip` leaves the policy's own tests out, to look at a policy whose tests fail. */
  readonly tests?: "run" | "skip";
}

/**
 * Returns the normalised policy of a file and its warnings, or every reason why it is refused, in the order of the text.
 * The stages are: bytes to JSON, JSON to the shape of the schema, shape to meaning, meaning to the
 * answers that its own tests expect; a stage with errors ends it.
 */
export function parsePolicy(bytes: Uint8Array, file: string, options: PolicyOptions = {}): PolicyResult {
  const text = parseJsonText(bytes, { ...options, file });
  if (!text.ok) return { ok: false, issues: text.issues.map(toIssue) };
  if (!validate(text.value)) {
    return { ok: false, issues: explainSchemaErrors(validate.errors, text.locate).map(toIssue) };
  }
  const document = text.value as unknown as PolicyDocument;
  const log = createIssueLog(text.locate);
  const unsupported = findUnsupported(document, text.locate);
  const source = { document, log };
  const policy = normalizePolicy(source);
  const isSound = [...unsupported, ...log.issues].every(({ severity }) => severity === "warning");
  if (isSound && options.tests !== "skip") runPolicyTests(policy, [source]);
  const issues = sortIssues([...unsupported, ...log.issues]);
  if (issues.some((issue) => issue.severity === "error")) return { ok: false, issues };
  return { ok: true, policy, warnings: issues };
}

function toIssue(issue: TextIssue): Issue {
  return { severity: "error", code: "POLICY_INVALID", ...issue };
}
