import { randomInt } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { appliedLive } from "../compile/applied-live.ts";
import { removeBudgets } from "../compile/budgets.ts";
import { passFence, takeFence } from "../compile/fence.ts";
import { liveDelta } from "../compile/live-delta.ts";
import { tableDelta } from "../compile/nft-delta.ts";
import { lifelineRuleset } from "../compile/nft-objects.ts";
import { allDone } from "./all-done.ts";
import type { ApplyContext } from "./context.ts";
import { gateReleaseOf } from "./gate-releases.ts";
import { readHold, requireNoLockdown } from "./hold-notes.ts";
import { loadRuleset, readBudgets, readLivePairs } from "./kernel.ts";
import { publishZones } from "./named-service.ts";
import { loosenProxy, tightenProxy } from "./proxy-service.ts";
import type { StoredRelease } from "./release-store.ts";

/** The gate keeps clients waiting for at most this long while the kernel takes the new maps; then it goes on by itself. */
const HOLD_MS = 10_000;
const MAX_FENCE = 0xffff_ffff;

/** Throws when whoever swaps has lost the right to: asked before each change. */
export type Guard = () => Promise<void>;

/**
 * Step 4, swap: puts a release in force. Runs under the apply lock. In between, never more is open than the wider of the
 * old and the new release:
 * a. named takes the new zones: names that went stop here, names that came are still unknown to the gate; the proxy of
 *    SNI mode loses the names that went;
 * b. the gate waits, so that none of its pins falls between the two policies; clients that get another group find what
 *    both release open to them there;
 * c. the kernel takes the maps and the grants of networks in one transaction, unless another swap has begun since;
 * d. the gate swaps its policy, takes back the pins and grants that are no longer allowed; audits end for the flows that
 *    go on; the gate goes on;
 * e. the proxy gets the names that came, and ends the connections that are no longer allowed.
 * When it is known which release stands (`from`), the kernel gets only what differs, and everything if that was wrong.
 * @throws AgentError APPLY_*, GATE_*, HOST_*, and what the guard throws
 */
export async function swapRelease(
  context: ApplyContext,
  release: StoredRelease,
  guard: Guard,
  from: StoredRelease | null = null,
): Promise<void> {
  const { gate, step } = context;
  await requireNoLockdown(context.paths);
  const gateRelease = await gateReleaseOf(context, release);
  const target = { release, policy: gateRelease.policy };
  const fence = randomInt(1, MAX_FENCE);
  await guard();
  await step("4a-zones", () =>
    allDone([
      loadRuleset(takeFence(fence)),
      publishZones(context, release, gateRelease),
      gate.prepare(release.folder),
      tightenProxy(context, target),
    ]),
  );
  const ruleset = await readRuleset(release);
  const changes = from === null ? null : tableDelta(await readRuleset(from), ruleset);
  await guard();
  await step("4b-hold", () => gate.hold(HOLD_MS));
  try {
    const [pairs, budgets] = await Promise.all([readLivePairs(), readBudgets(), gate.anticipate(release.digest)]);
    const grants = liveDelta(pairs, appliedLive(gateRelease.policy));
    const rest = grants.now + removeBudgets(budgets, gateRelease.policy);
    await guard();
    await step("4c-kernel", () => loadEither(context, changes, ruleset, (text) => passFence(fence) + text + rest));
    await closeIfLockedDown(context);
    await guard();
    await step("4d-gate", () => gate.activate(release.digest));
    await guard();
    if (grants.later !== "") await loadRuleset(passFence(fence) + grants.later);
  } finally {
    await gate.resume();
  }
  await guard();
  await step("4e-proxy", () => loosenProxy(context, target));
}

/** A lockdown waits for nobody: one that came just before the kernel took the release is put back after it. */
async function closeIfLockedDown({ paths }: ApplyContext): Promise<void> {
  if ((await readHold(paths.lockdown)) === null) return;
  await loadRuleset(lifelineRuleset);
  await requireNoLockdown(paths);
}

async function readRuleset({ folder }: StoredRelease): Promise<string> {
  return await readFile(join(folder, "policy.nft"), "utf8");
}

/** A table that is not what it should be, so that the kernel refuses the changes, is nobody's reason to refuse a release. */
async function loadEither(
  { log }: ApplyContext,
  changes: string | null,
  whole: string,
  complete: (text: string) => string,
): Promise<void> {
  if (changes !== null) {
    try {
      await loadRuleset(complete(changes));
      return log.info({ event: "rules-changed", whole: false });
    } catch (error) {
      log.warn({ event: "delta-refused", reason: (error as Error).message });
    }
  }
  await loadRuleset(complete(whole));
  log.info({ event: "rules-changed", whole: true });
}
