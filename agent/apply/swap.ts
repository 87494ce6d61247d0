import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { removeBudgets } from "../compile/budgets.ts";
import { type LivePair, liveDelta } from "../compile/live-delta.ts";
import { networkLive } from "../compile/network-live.ts";
import type { GateRelease } from "../compile/release.ts";
import type { ApplyContext } from "./context.ts";
import { loadRuleset, readBudgets, readLivePairs } from "./kernel.ts";
import { publishZones } from "./named-service.ts";
import { loosenProxy, tightenProxy } from "./proxy-service.ts";
import type { StoredRelease } from "./release-store.ts";

/** The gate keeps clients waiting for at most this long while the kernel takes the new maps; then it goes on by itself. */
const HOLD_MS = 10_000;

/**
 * Step 4, swap: puts a release in force. In between, never more is open than the wider of the old and the new release:
 * a. named takes the new zones: names that went stop here, names that came are still unknown to the gate; the proxy of
 *    SNI mode loses the names that went;
 * b. the gate waits, so that none of its pins falls between the two policies;
 * c. the kernel takes the maps and the grants of networks in one transaction;
 * d. the gate swaps its policy, takes back the pins and grants that are no longer allowed, and goes on;
 * e. the proxy gets the names that came, and ends the connections that are no longer allowed.
 * @throws AgentError APPLY_*, GATE_*, HOST_*
 */
export async function swapRelease(context: ApplyContext, release: StoredRelease): Promise<void> {
  const { gate } = context;
  const gateRelease = await readGateRelease(release);
  const target = { release, policy: gateRelease.policy };
  const [ruleset, budgets] = await Promise.all([
    readFile(join(release.folder, "policy.nft"), "utf8"),
    // Nobody but an apply writes them, so they stay as they are until the transaction.
    readBudgets(),
    publishZones(context, release, gateRelease.canary),
    gate.prepare(release.folder),
    tightenProxy(context, target),
  ]);
  await gate.hold(HOLD_MS);
  try {
    const grants = liveDelta(await readLivePairs(), wantedLive(gateRelease));
    await loadRuleset(ruleset + grants + removeBudgets(budgets, gateRelease.policy));
    await gate.activate(release.digest);
  } finally {
    await gate.resume();
  }
  await loosenProxy(context, target);
}

/** Returns the gate's part of a stored release. Its bytes were checked against the manifest when the release was opened. */
export async function readGateRelease(release: StoredRelease): Promise<GateRelease> {
  return JSON.parse(await readFile(join(release.folder, "gate.json"), "utf8")) as GateRelease;
}

/** Returns the grants of networks that a release has in force. */
export function wantedLive(release: GateRelease): readonly LivePair[] {
  return networkLive(release.policy);
}
