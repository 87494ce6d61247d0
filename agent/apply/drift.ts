import { type ZoneFile, zoneFiles } from "../compile/zone-files.ts";
import { AgentError } from "../errors.ts";
import { sleepMs } from "../host/clock.ts";
import { type BaseListing, findBaseDifference, listBase, rehearseBase } from "./base-digest.ts";
import { loadBase, renderBaseOf } from "./base-service.ts";
import type { CheckedRelease } from "./check-artifacts.ts";
import type { ApplyContext } from "./context.ts";
import { findInForce, openConfirmed } from "./enforced.ts";
import { gateReleaseOf } from "./gate-releases.ts";
import { readHold } from "./hold-notes.ts";
import { differsFromRelease, publishAgain } from "./named-service.ts";
import { requireKernel } from "./read-back.ts";
import { enforceConfirmed, hasUnfinished } from "./start-enforcing.ts";

/** What somebody changed, and what puts it right; under the apply lock. */
interface Drift {
  readonly what: string;
  readonly heal: () => Promise<void>;
}

/** What a look has found. */
export interface FoundDrift {
  readonly what: string;
  readonly isHealed: boolean;
}

/** What is different must still be so a moment later: another program may be in the middle of putting it right. */
const SURE_MS = 500;

/**
 * Returns a look that finds what somebody changed by hand within our tables or in named's zones, and puts it right: rules and
 * elements of the base table, those of the policy table, grants of networks, files of zones. It returns what was
 * changed, or null; with `mayHeal` false it stays as it is. Nothing is looked at while a change is unfinished, or while
 * nothing but the lifeline is open.
 * @throws AgentError STATE_CORRUPT, APPLY_*, HOST_*
 */
export function createDriftLook(context: ApplyContext): (mayHeal: boolean) => Promise<FoundDrift | null> {
  let base: BaseListing | null = null;
  let known: { readonly digest: string | null; readonly release: CheckedRelease } | null = null;
  // Checked once: what lies on disk is not what is looked at here.
  const openKnown = async (): Promise<CheckedRelease> => {
    const digest = await findInForce(context.paths);
    if (known === null || known.digest !== digest) known = { digest, release: await openConfirmed(context) };
    return known.release;
  };
  const find = async (): Promise<Drift | null> => {
    if ((await hasUnfinished(context)) || (await readHold(context.paths.lockdown)) !== null) return null;
    base ??= await rehearseBase(renderBaseOf(context));
    const name = findBaseDifference(base, await listBase());
    const release = await openKnown();
    const kernel = name === null ? await findKernelDifference(release, context) : `${name} of the base table`;
    if (kernel !== null) return { what: kernel, heal: () => restoreTables(context, kernel) };
    const zone = await findZoneDifference(release, context);
    if (zone === null) return null;
    return { what: `the file of named's zone ${zone.zone}`, heal: () => publishAgain(context, release, zone) };
  };
  return (mayHeal) =>
    context.inTurn(async () => {
      if ((await find()) === null) return null;
      await sleepMs(SURE_MS);
      return await context.locked(async () => {
        const found = await find();
        if (found === null) return null;
        const { what, heal } = found;
        if (!mayHeal) return { what, isHealed: false };
        context.log.error({ event: "drift", what });
        await heal();
        return { what, isHealed: true };
      });
    });
}

async function restoreTables(context: ApplyContext, what: string): Promise<void> {
  await loadBase(context);
  const failure = await enforceConfirmed(context, `somebody changed the tables: ${what}`);
  if (failure !== null) throw failure;
}

async function findKernelDifference(release: CheckedRelease, context: ApplyContext): Promise<string | null> {
  try {
    await requireKernel(release, await gateReleaseOf(context, release));
    return null;
  } catch (error) {
    if (error instanceof AgentError && error.code === "APPLY_READBACK") return error.message;
    throw error;
  }
}

async function findZoneDifference(release: CheckedRelease, context: ApplyContext): Promise<ZoneFile | null> {
  const { shardCanaries } = await gateReleaseOf(context, release);
  for (const zone of zoneFiles({ isSharded: shardCanaries !== undefined })) {
    if (await differsFromRelease(context, release, zone.file)) return zone;
  }
  return null;
}
