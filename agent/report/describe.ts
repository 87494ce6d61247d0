import { isIP } from "node:net";
import type { Code } from "../errors.ts";
import { plainText } from "../plain-text.ts";
import type { ChangeCounts } from "../policy/compare-policies.ts";

/** What became of a commit on this gateway. */
export type Outcome =
  | { readonly kind: "seen" }
  | {
      readonly kind: "confirmed";
      readonly serial: number;
      /** Principals whose approvals were counted. */
      readonly approvedBy: readonly string[];
      readonly insecure: boolean;
      /** True when the policy is under audit for anybody. */
      readonly audit: boolean;
      readonly changes: ChangeCounts;
    }
  /** Was confirmed before, and something that nobody approved is in force in its place until an end. */
  | { readonly kind: "break-glass"; readonly by: string; readonly until: string; readonly reason: string }
  /** Was confirmed before, could not be kept in force, and is in force again. */
  | { readonly kind: "restored"; readonly serial: number }
  | {
      /** `closed`: was confirmed before, and now only the lifeline is open. */
      readonly kind: "refused" | "rolled-back" | "rollback-failed" | "closed" | "failed" | "waiting";
      readonly code: Code;
      readonly message: string;
    };

/** A commit status as forges know it. */
export interface Status {
  readonly state: "pending" | "success" | "failure" | "error";
  /** At most 140 code points on one line. */
  readonly description: string;
}

/** What is said of a commit before anything is known of it. */
export const SEEN = "seen, not enforced yet";
const MAX_DESCRIPTION = 140;
const MAX_NAMES = 4;

const things: readonly (readonly [name: string, list: "domains" | "networks" | "ports" | "rules" | "hosts"])[] = [
  ["domain", "domains"],
  ["network", "networks"],
  ["port", "ports"],
  ["rule", "rules"],
  ["host", "hosts"],
];

/**
 * Returns the commit status for an outcome. It is public to whoever may read the repository: it names counts, approvers
 * and reasons, and no address of the gateway's surroundings.
 */
export function describeOutcome(outcome: Outcome): Status {
  const status = (state: Status["state"], text: string): Status => ({
    state,
    description: plainText(text, MAX_DESCRIPTION),
  });
  switch (outcome.kind) {
    case "seen":
      return status("pending", SEEN);
    case "confirmed":
      return status("success", confirmedText(outcome));
    case "restored":
      return status("success", `in force again, serial ${outcome.serial}`);
    case "break-glass":
      return status("error", `BREAK-GLASS by ${outcome.by} until ${outcome.until}: ${maskAddresses(outcome.reason)}`);
    case "rollback-failed":
      return status("error", `rollback failed, all is closed: ${outcome.code}: ${maskAddresses(outcome.message)}`);
    case "closed":
      return status("error", `no longer in force, all is closed: ${outcome.code}: ${maskAddresses(outcome.message)}`);
    case "refused":
      return status("failure", `refused: ${outcome.code}: ${maskAddresses(outcome.message)}`);
    case "rolled-back":
      return status("failure", `rolled back: ${outcome.code}: ${maskAddresses(outcome.message)}`);
    case "waiting":
      return status("pending", `verified, not applied: ${outcome.code}: ${maskAddresses(outcome.message)}`);
    case "failed":
      return status("error", `failed, will be tried again: ${outcome.code}: ${maskAddresses(outcome.message)}`);
  }
}

function confirmedText(outcome: Outcome & { readonly kind: "confirmed" }): string {
  const parts = [changesText(outcome.changes), `serial ${outcome.serial}`];
  if (outcome.audit) parts.push("AUDIT MODE");
  if (outcome.insecure) parts.push("NOT VERIFIED (insecure: true)");
  else if (outcome.approvedBy.length > 0) parts.push(`by ${namesText(outcome.approvedBy)}`);
  return parts.join(", ");
}

/** `+2 domains −1 network ~1 host` */
function changesText(changes: ChangeCounts): string {
  const parts = things.flatMap(([name, list]) => [
    countText("+", changes[`${list}Added`], name),
    countText("−", changes[`${list}Removed`], name),
  ]);
  const hosts = countText("~", changes.hostsChanged, "host");
  const text = [...parts, hosts, countText("~", changes.limitsChanged, "limit")]
    .filter((part) => part !== "")
    .join(" ");
  return text === "" ? "no change" : text;
}

function countText(sign: string, count: number, name: string): string {
  return count === 0 ? "" : `${sign}${count} ${name}${count === 1 ? "" : "s"}`;
}

function namesText(names: readonly string[]): string {
  const shown = names.slice(0, MAX_NAMES).map((name) => plainText(name, 30));
  return names.length <= MAX_NAMES ? shown.join(", ") : `${shown.join(", ")} and ${names.length - MAX_NAMES} more`;
}

/** Single addresses are the gateway's own affair; networks (`192.0.2.0/24`) stand in the policy, which is in the repository. */
function maskAddresses(text: string): string {
  return text.replace(/(?<![\w.:])[0-9a-fA-F:.]{3,45}(?![\w/])/g, (token) => {
    const bare = token.replace(/[.:]$/, "");
    if (isIP(bare) !== 0) return `(address)${token.slice(bare.length)}`;
    const host = /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(bare)?.[1];
    return host !== undefined && isIP(host) === 4 ? `(address)${token.slice(host.length)}` : token;
  });
}
