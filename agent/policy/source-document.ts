import type { PolicyDocument } from "./document.ts";
import type { IssueLog } from "./issue-log.ts";

/** One file of a policy: what it says, and where its issues go. */
export interface PolicySource {
  readonly document: PolicyDocument;
  readonly log: IssueLog;
}
