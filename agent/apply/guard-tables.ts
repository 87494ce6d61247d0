import { loadBase } from "./base-service.ts";
import type { ApplyContext } from "./context.ts";
import { openEnforced } from "./enforced.ts";
import { readTableHandles, type TableHandles } from "./kernel.ts";
import { readBack } from "./read-back.ts";
import { swapRelease } from "./swap.ts";

/**
 * Returns a check that puts our tables back when another tool deleted them or made them anew: `nft flush ruleset` is what
 * starting a system's own firewall does, and forwarding is on. The base table comes back first and at once, even while an
 * apply is under way; what was opened meanwhile carries no grant and ends with its next packet. The check returns whether
 * something had to be put back. To be made after `startEnforcing`.
 * @throws AgentError APPLY_*, GATE_*, HOST_* from the check when the release cannot be put in force; the next one tries again.
 */
export async function guardTables(context: ApplyContext): Promise<() => Promise<boolean>> {
  let known: TableHandles | null = await readTableHandles();
  return async () => {
    const found = await readTableHandles();
    if (known !== null && isSame(found, known)) return false;
    if (known !== null) context.log.error({ event: "tables-replaced", ...found });
    known = null;
    await loadBase(context);
    await context.inTurn(async () => {
      const release = await openEnforced(context);
      const before = await readTableHandles();
      await swapRelease(context, release);
      await readBack(context, release);
      known = before;
    });
    return true;
  };
}

function isSame(a: TableHandles, b: TableHandles): boolean {
  return a.base !== null && a.policy !== null && a.base === b.base && a.policy === b.policy;
}
