import { formatIssue } from "../../agent/policy/issue-log.ts";
import { parsePolicy } from "../../agent/policy/parse-policy.ts";
import { patternText } from "../../agent/policy/pattern-text.ts";
import type { Policy, PolicyResult } from "../../agent/policy/policy.ts";
import { portText } from "../../agent/policy/ports.ts";

/** Returns the result for a document or a text. */
export function parseDocument(document: unknown): PolicyResult {
  const text = typeof document === "string" ? document : JSON.stringify(document);
  return parsePolicy(Buffer.from(text), "policy.json");
}

/** Returns the policy of a document that must be valid. */
export function validPolicy(document: unknown): Policy {
  const result = parseDocument(document);
  if (!result.ok) throw new Error(result.issues.map(formatIssue).join("\n"));
  return result.policy;
}

/** Returns all issues, warnings included, as `pointer: message`. */
export function issueTexts(document: unknown): readonly string[] {
  const result = parseDocument(document);
  return (result.ok ? result.warnings : result.issues).map(({ place, message }) => `${place.pointer}: ${message}`);
}

/** Returns the rules of a group, a line each: `name ports (label)`. */
export function rulesOf(policy: Policy, groupName = "*"): readonly string[] {
  const group = policy.groups.find(({ name }) => name === groupName);
  return [...(group?.names ?? []), ...(group?.networks ?? [])].map((rule) => {
    const what = "pattern" in rule ? patternText(rule.pattern) : rule.network;
    return `${what} ${rule.ports.map(portText).join(",")}${rule.label === null ? "" : ` (${rule.label})`}`;
  });
}
