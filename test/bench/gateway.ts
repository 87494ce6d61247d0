import type { Lab } from "../lab/lab.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** A small policy: the probe's name, a few others, and one more that a commit may change. */
export function smallPolicy(...domains: readonly string[]): { readonly [key: string]: unknown } {
  return {
    version: 1,
    allow: { domains: ["health.allowed.test", "www.allowed.test", "*.wild.test", "*.fresh.test", ...domains] },
  };
}

/** Sets up a gateway whose bounds per client no load of ours reaches. Nothing runs on it yet. */
export async function openBenchGateway(lab: Lab): Promise<TestGateway> {
  const probes = [{ name: "health page", type: "tcp", host: "*", to: "health.allowed.test", port: 443 }];
  const gate = { maxPinsPerClient: 1_000_000, maxNamesPerClient: 1_000_000, maxQueriesPerS: 1_000_000 };
  return await setUpGateway(lab, { policy: smallPolicy(), config: { health: { probes }, gate } });
}

/** Puts the first policy in force and ends: named and the gate stay. @throws Error when it is not confirmed */
export async function enforceOnce(gateway: TestGateway): Promise<void> {
  const result = await gateway.sync();
  if (!result.ok) throw new Error(`the gateway does not enforce: ${result.code} ${result.message}`);
}
