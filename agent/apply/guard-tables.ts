import { loadBase } from "./base-service.ts";
import type { ApplyContext } from "./context.ts";
import { readTableHandles, type TableHandles } from "./kernel.ts";
import { enforceConfirmed } from "./start-enforcing.ts";

/**
 * Returns a check that puts our tables back when another tool deleted them or made them anew: `nft flush ruleset` is what
 * starting a system's own firewall does, and forwarding is on. The base table comes back first and at once, even while an
 * apply is under way; what was opened meanwhile carries no grant and ends with its next packet. The check returns whether
 * something had to be put back. To be made after `startEnforcing`.
 * @throws AgentError APPLY_FAILED, HOST_* from the check when not even the base table can be loaded; the next one tries again.
 */
export async function guardTables(context: ApplyContext): Promise<() => Promise<boolean>> {
  let known: TableHandles | null = await readTableHandles();
  return async () => {
    const found = await readTableHandles();
    if (known !== null && isSame(found, known)) return false;
    if (known !== null) context.log.error({ event: "tables-replaced", ...found });
    known = null;
    await loadBase(context);
    const restore = async (): Promise<void> => {
      const before = await readTableHandles();
      // When it cannot be put in force, all is closed and others try again: the tables that stand then are ours as well.
      const failure = await enforceConfirmed(context, "another tool took the tables");
      known = failure === null ? before : await readTableHandles();
    };
    await context.inTurn(() => context.locked(restore));
    return true;
  };
}

function isSame(a: TableHandles, b: TableHandles): boolean {
  return a.base !== null && a.policy !== null && a.base === b.base && a.policy === b.policy;
}
