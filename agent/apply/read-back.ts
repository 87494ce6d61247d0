import { appliedLive } from "../compile/applied-live.ts";
import type { LivePair } from "../compile/live-delta.ts";
import { isAppliedGrant } from "../compile/marks.ts";
import type { GateRelease } from "../compile/release.ts";
import { AgentError } from "../errors.ts";
import type { CheckedRelease } from "./check-artifacts.ts";
import type { ApplyContext } from "./context.ts";
import { gateReleaseOf } from "./gate-releases.ts";
import { digestPolicyTable, hasTable, readLivePairs } from "./kernel.ts";
import { readBackZones } from "./named-service.ts";
import { findProxyDifference } from "./proxy-service.ts";

/**
 * Step 5, read back: returns when the kernel's rules and grants, named's answers, the gate and the proxy say that a release is in force.
 * @throws AgentError APPLY_READBACK naming the part that differs.
 */
export async function readBack(context: ApplyContext, release: CheckedRelease): Promise<void> {
  const gateRelease = await gateReleaseOf(context, release);
  const [, zones, status, proxy] = await Promise.all([
    requireKernel(release, gateRelease),
    readBackZones(context, gateRelease),
    context.gate.status(),
    findProxyDifference(context, { release, policy: gateRelease.policy }),
  ]);
  if (status.digest !== release.digest) throw differs(`the gate serves release ${status.digest ?? "none"}`);
  if (!zones.ok) throw differs(`named: ${zones.detail}`);
  if (proxy !== null) throw differs(proxy);
  if (!status.named.ok) throw differs(`the gate on named: ${status.named.detail}`);
}

/**
 * Reads back what was put in force by changes. They were right for the release that should have stood; whatever stood, if
 * it does not read back, the whole of it is put in force once. @throws AgentError APPLY_READBACK, and what `putWhole` throws
 */
export async function readBackOrPutWhole(
  context: ApplyContext,
  release: CheckedRelease,
  putWhole: () => Promise<void>,
): Promise<void> {
  try {
    await readBack(context, release);
  } catch (error) {
    context.log.warn({ event: "read-back-again", reason: (error as Error).message });
    await putWhole();
    await readBack(context, release);
  }
}

/**
 * Returns when the kernel's rules, and the grants that an apply owns, are those of a release.
 * @throws AgentError APPLY_READBACK naming the part that differs.
 */
export async function requireKernel(release: CheckedRelease, gateRelease: GateRelease): Promise<void> {
  const [digest, base, pairs] = await Promise.all([digestPolicyTable(), hasTable("clawgress_base"), readLivePairs()]);
  if (!base) throw differs("the base table does not stand");
  if (digest !== release.tableDigest) throw differs("the rules or maps of table clawgress are not the release's");
  const missing = comparePairs(
    pairs.filter(({ grant }) => isAppliedGrant(grant)),
    appliedLive(gateRelease.policy),
  );
  if (missing !== null) throw differs(missing);
}

function comparePairs(kernel: readonly LivePair[], wanted: readonly LivePair[]): string | null {
  const texts = new Set(kernel.map(pairText));
  const lacks = wanted.filter((pair) => !texts.delete(pairText(pair)));
  if (lacks.length > 0) return `the kernel lacks ${lacks.length} grants of networks or audits`;
  return texts.size > 0 ? `the kernel has ${texts.size} grants of networks or audits too many` : null;
}

function pairText({ group, grant }: LivePair): string {
  return `${group} ${grant}`;
}

function differs(what: string): AgentError {
  return new AgentError("APPLY_READBACK", what);
}
