import type { GatewayStatus } from "../report/gateway-status.ts";

/** The answer to `POST /api/clawgress/health`. */
export interface Health {
  readonly bind9_active: boolean;
  readonly nftables_active: boolean;
  readonly policy_present: boolean;
  readonly policy_path: string;
  readonly healthy: boolean;
  readonly degraded: readonly string[];
}

/** Returns whether what should be in force is, as a gateway's status says. */
export function healthOf(status: GatewayStatus, policyPath: string): Health {
  return {
    bind9_active: status.named.pid !== null && status.gate?.named.ok === true,
    nftables_active: status.tables.base && status.tables.policy && status.lifeline === null,
    policy_present: status.confirmed.release !== null,
    policy_path: policyPath,
    healthy: status.degraded.length === 0,
    degraded: status.degraded,
  };
}
