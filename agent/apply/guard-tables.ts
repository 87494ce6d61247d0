import { loadBase } from "./base-service.ts";
import type { ApplyContext } from "./context.ts";
import { readTableHandles, type TableHandles } from "./kernel.ts";
import { enforceConfirmed } from "./start-enforcing.ts";
import { openTableWatch } from "./table-watch.ts";

/**
 * Returns a check that puts our tables back when another tool deleted them or made them anew: `nft flush ruleset` is what
 * starting a system's own firewall does, and forwarding is on. The base table comes back first and at once, even while an
 * apply is under way; what was opened meanwhile carries no grant and ends with its next packet. The check returns whether
 * something had to be put back. To be made after `startEnforcing`.
 * @throws AgentError APPLY_FAILED, HOST_* from the check when not even the base table can be loaded; the next one tries again.
 */
export async function guardTables(context: ApplyContext): Promise<() => Promise<boolean>> {
  const watch = await openWatch(context);
  let known: TableHandles | null = await watch.read();
  return async () => {
    const found = await watch.read();
    if (known !== null && isSame(found, known)) return false;
    if (known !== null) context.log.error({ event: "tables-replaced", ...found });
    known = null;
    await loadBase(context);
    const restore = async (): Promise<void> => {
      const before = await watch.read();
      // When it cannot be put in force, all is closed and others try again: the tables that stand then are ours as well.
      const failure = await enforceConfirmed(context, "another tool took the tables");
      known = failure === null ? before : await watch.read();
    };
    await context.inTurn(() => context.locked(restore));
    return true;
  };
}

/** Where netlink cannot be spoken, `nft` says the same, for as long as it takes to start it. */
async function openWatch({
  log,
}: ApplyContext): Promise<{ readonly read: () => TableHandles | Promise<TableHandles> }> {
  try {
    return await openTableWatch();
  } catch (error) {
    log.warn({ event: "tables-by-nft", reason: (error as Error).message });
    return { read: readTableHandles };
  }
}

function isSame(a: TableHandles, b: TableHandles): boolean {
  return a.base !== null && a.policy !== null && a.base === b.base && a.policy === b.policy;
}
