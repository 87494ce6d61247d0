import type { Agent } from "../agent.ts";
import { openEnforced } from "../apply/enforced.ts";
import { requireNoFight } from "../apply/fight.ts";
import { gateReleaseOf } from "../apply/gate-releases.ts";
import { heldBy, readHold, requireNoLockdown } from "../apply/hold-notes.ts";
import { type Cycle, need, type StepResult } from "../cycle.ts";
import { AgentError } from "../errors.ts";
import { readPointers } from "../host/pointer-store.ts";
import { compareReach } from "../policy/compare-reach.ts";
import { holdsAt, hoursText, nextOfHours } from "../policy/hours.ts";
import { instantText } from "../policy/wall-time.ts";

/** Ends the cycle while an operator holds the gateway: the commit is verified, and applied once they let it. */
export async function waitForOperator({ paths }: Agent, _cycle: Cycle): Promise<StepResult> {
  await requireNoLockdown(paths);
  await requireNoFight(paths);
  const suspended = await readHold(paths.suspended);
  if (suspended !== null) throw heldBy("HELD_SUSPENDED", suspended);
  return {};
}

/**
 * Ends the cycle outside of the hours in which changes are made, for a commit that opens anything. What only closes waits
 * for no hours, nor does the first policy of a gateway, or the whole of a commit of which a part is in force.
 */
export async function waitForWindow(agent: Agent, cycle: Cycle): Promise<StepResult> {
  const { windows } = agent.settings.updates;
  const nowS = agent.judgedMs() / 1000;
  const isOpen = windows.some((hours) => holdsAt({ windows: [hours], fromS: null, untilS: null }, nowS));
  if (windows.length === 0 || isOpen) return {};
  const { confirmed } = await readPointers(agent.paths.pointers);
  if (confirmed.release === null || confirmed.commit === cycle.commit) return {};
  const enforced = await gateReleaseOf(agent.apply, await openEnforced(agent.apply));
  const changes = compareReach(enforced.policy, need(cycle.policy, "policy"));
  if (!changes.some(({ widens }) => widens)) return {};
  const opensS = Math.min(...windows.map((hours) => nextOfHours(hours, nowS).fromS));
  const hours = windows.map(hoursText).join(", ");
  throw new AgentError(
    "HELD_WINDOW",
    `it opens something, and changes are made ${hours}: next at ${instantText(opensS)}`,
  );
}
