import type { UploadResult } from "../lab/client.ts";
import type { Lab } from "../lab/lab.ts";

/** One way to measure `egress_kbps`: how hosts reach the far end, over which family, on how many flows each. */
export interface LimitCase {
  readonly path: "direct" | "SNI proxy";
  readonly family: 4 | 6;
  readonly flows: 1 | 4;
}

export const limitCases: readonly LimitCase[] = (["direct", "SNI proxy"] as const).flatMap((path) =>
  ([4, 6] as const).flatMap((family) => ([1, 4] as const).map((flows) => ({ path, family, flows }))),
);

export const SLOW_KBPS = 2_000;
export const FAST_KBPS = 50_000;
/** More would only take the machine's cores away from the others. */
const FREE_KBPS = 300_000;

/** Two hosts with a limit and one without, all in SNI mode: port 443 goes through the proxy, port 7002 does not. */
export const limitedHosts = {
  version: 1,
  allow: { domains: ["a.allowed.test", "b.allowed.test", "www.allowed.test"], ports: [443, 7002] },
  proxy: { mode: "sni-allowlist" },
  hosts: {
    "agent-1": { sources: ["10.80.0.10", "fd80::10"], limits: { egress_kbps: SLOW_KBPS } },
    "agent-2": { sources: ["10.80.0.11", "fd80::11"] },
    guest: { sources: ["10.81.0.0/24", "fd81::/64"], limits: { egress_kbps: FAST_KBPS } },
  },
} as const;

/** Payload that arrived at the far end, in kilobits a second. */
export interface LimitedUploads {
  readonly slow: number;
  readonly fast: number;
  /** Of the host without a limit, in the same seconds. */
  readonly free: number;
}

/**
 * Uploads from all three hosts at once, each to a name of its own, and returns what arrived.
 * @throws Error when a flow did not last or was not let through.
 */
export async function uploadUnderLimits(
  lab: Lab,
  { path, family, flows }: LimitCase,
  timing: { readonly warmUpMs: number; readonly forMs: number },
): Promise<LimitedUploads> {
  const how = { ...timing, family, flows, timeoutMs: 5_000, ...(path === "direct" ? {} : { web: true, port: 443 }) };
  const [slow, fast, free] = await Promise.all([
    lab.client("agent1").upload("a.allowed.test", how),
    lab.client("guest").upload("b.allowed.test", how),
    lab.client("agent2").upload("www.allowed.test", { ...how, atKbps: FREE_KBPS }),
  ]);
  return { slow: rateOf(slow), fast: rateOf(fast), free: rateOf(free) };
}

function rateOf(result: UploadResult): number {
  if (result.outcome !== "connected" || result.ended > 0) throw new Error(`no upload: ${JSON.stringify(result)}`);
  return result.kbps;
}
