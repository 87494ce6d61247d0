import type { JsonDocument } from "./json-text.ts";
import type { Issue, Place } from "./policy.ts";

const MAX_EACH = 200;

/** Where the issues of all files of a policy come together; at most 200 of each severity, so that no file floods its readers. */
export interface IssueSink {
  readonly issues: readonly Issue[];
  add(issue: Issue): void;
}

/** Collects issues while one file is read. */
export interface IssueLog {
  readonly locate: JsonDocument["locate"];
  readonly isItemAt: JsonDocument["isItemAt"];
  /** Those of the other files too. */
  readonly issues: readonly Issue[];
  /** The code is POLICY_INVALID unless another one is given. */
  error(place: Place, message: string, remedy: string, code?: Issue["code"]): void;
  warn(place: Place, message: string, remedy: string): void;
}

/** Returns an empty sink. */
export function createIssueSink(): IssueSink {
  const issues: Issue[] = [];
  const counts = { error: 0, warning: 0 };
  return {
    issues,
    add: (issue) => {
      counts[issue.severity]++;
      if (counts[issue.severity] <= MAX_EACH) issues.push(issue);
    },
  };
}

/** Returns the log of a file. */
export function createIssueLog(
  { locate, isItemAt }: Pick<JsonDocument, "locate" | "isItemAt">,
  sink: IssueSink,
): IssueLog {
  return {
    locate,
    isItemAt,
    issues: sink.issues,
    error: (place, message, remedy, code = "POLICY_INVALID") =>
      sink.add({ severity: "error", code, place, message, remedy }),
    warn: (place, message, remedy) => sink.add({ severity: "warning", code: "POLICY_INVALID", place, message, remedy }),
  };
}

/** Returns whether any issue refuses the policy. */
export function hasErrors({ issues }: Pick<IssueSink, "issues">): boolean {
  return issues.some(({ severity }) => severity === "error");
}

/** Returns issues in the order of the text: the given order of files, line, column, errors before warnings. */
export function sortIssues(issues: readonly Issue[], files: readonly string[]): readonly Issue[] {
  const order = new Map(files.map((file, index) => [file, index]));
  const fileRank = ({ place }: Issue): number => order.get(place.file) ?? files.length;
  const rank = (issue: Issue): number => (issue.severity === "error" ? 0 : 1);
  return issues.toSorted(
    (a, b) =>
      fileRank(a) - fileRank(b) || a.place.line - b.place.line || a.place.column - b.place.column || rank(a) - rank(b),
  );
}

/** Returns where something else stands, for a message about a place: its line, and its file when that is another one. */
export function whereIs(other: Place, seenFrom: Place): string {
  return other.file === seenFrom.file ? `line ${other.line}` : `${other.file}:${other.line}`;
}

/** Returns one line for people: `policy.json:3:7: error: message; remedy`. */
export function formatIssue(issue: Issue): string {
  const { file, line, column } = issue.place;
  return `${file}:${line}:${column}: ${issue.severity}: ${issue.message}; ${issue.remedy}`;
}
