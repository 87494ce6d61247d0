import type { JsonDocument } from "./json-text.ts";
import type { Issue, Place } from "./policy.ts";

const MAX_EACH = 200;

/** Collects issues while a document is read; at most 200 of each severity, so that no file floods its readers. */
export interface IssueLog {
  readonly locate: JsonDocument["locate"];
  readonly issues: readonly Issue[];
  /** The code is POLICY_INVALID unless another one is given. */
  error(place: Place, message: string, remedy: string, code?: Issue["code"]): void;
  warn(place: Place, message: string, remedy: string): void;
}

/** Returns an empty log for a document. */
export function createIssueLog(locate: JsonDocument["locate"]): IssueLog {
  const issues: Issue[] = [];
  const counts = { error: 0, warning: 0 };
  const add = ({ severity, ...issue }: Issue): void => {
    counts[severity]++;
    if (counts[severity] <= MAX_EACH) issues.push({ severity, ...issue });
  };
  return {
    locate,
    issues,
    error: (place, message, remedy, code = "POLICY_INVALID") =>
      add({ severity: "error", code, place, message, remedy }),
    warn: (place, message, remedy) => add({ severity: "warning", code: "POLICY_INVALID", place, message, remedy }),
  };
}

/** Returns issues in the order of the text: line, column, errors before warnings. */
export function sortIssues(issues: readonly Issue[]): readonly Issue[] {
  const rank = (issue: Issue): number => (issue.severity === "error" ? 0 : 1);
  return issues.toSorted((a, b) => a.place.line - b.place.line || a.place.column - b.place.column || rank(a) - rank(b));
}

/** Returns one line for people: `policy.json:3:7: error: message; remedy`. */
export function formatIssue(issue: Issue): string {
  const { file, line, column } = issue.place;
  return `${file}:${line}:${column}: ${issue.severity}: ${issue.message}; ${issue.remedy}`;
}
