import type { NamePattern } from "./policy.ts";

/** Returns a pattern as it is written in a policy: `api.example.com`, `*.example.com`. */
export function patternText(pattern: NamePattern): string {
  return pattern.kind === "exact" ? pattern.name : `*.${pattern.name}`;
}
