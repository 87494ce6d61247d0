import type { CallServices } from "./services.ts";

/** A commit status that the server accepted. */
export interface PostedStatus {
  /** `owner/name` */
  readonly repository: string;
  readonly sha: string;
  readonly context: string;
  readonly state: "error" | "failure" | "pending" | "success";
  readonly description: string | null;
  readonly targetUrl: string | null;
  readonly id: number;
}

/** A request that breaks GitHub's contract, with what is wrong about it. */
export interface ContractViolation {
  readonly method: string;
  readonly path: string;
  readonly reason: string;
}

/** How the status server fails: an HTTP status, a rate limit (403 with Retry-After), or no answer; for no server at all see `lab.block`. */
export type StatusFault =
  | { readonly kind: "status"; readonly status: 401 | 404 | 422 | 500 | 502 | 503 }
  | { readonly kind: "rate-limit"; readonly retryAfterS: number }
  | { readonly kind: "silence" };

/** The status server `api.lab.test`. */
export interface LabStatuses {
  /** Base URL for `report.github.api`. */
  readonly api: string;
  readonly token: string;
  /** Accepted statuses, oldest first. */
  readonly posted: () => Promise<readonly PostedStatus[]>;
  readonly violations: () => Promise<readonly ContractViolation[]>;
  readonly requests: () => Promise<readonly { method: string; path: string; status: number; from: string }[]>;
  /** Sets the fault for `times` requests (default: until `fault(null)`). */
  readonly fault: (fault: StatusFault | null, times?: number) => Promise<void>;
  /** Sets how many statuses one commit and context may have; GitHub's limit is 1,000. */
  readonly limit: (maxStatuses: number) => Promise<void>;
  /** Forgets statuses, violations and requests. */
  readonly forget: () => Promise<void>;
}

/** Returns the typed face of the status server's control methods. */
export function statusControls(call: CallServices, host: string, token: string): LabStatuses {
  return {
    api: `https://${host}`,
    token,
    posted: async () => (await call("statuses.posted")) as readonly PostedStatus[],
    violations: async () => (await call("statuses.violations")) as readonly ContractViolation[],
    requests: async () => (await call("statuses.requests")) as never,
    fault: async (fault, times) => {
      await call("statuses.fault", { fault: fault && { ...fault, times: times ?? null } });
    },
    limit: async (maxStatuses) => {
      await call("statuses.limit", { maxStatuses });
    },
    forget: async () => {
      await call("statuses.forget");
    },
  };
}
