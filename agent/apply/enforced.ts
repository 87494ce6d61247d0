import { compile } from "../compile/compile.ts";
import { AgentError } from "../errors.ts";
import { readPointers } from "../host/pointer-store.ts";
import type { Policy } from "../policy/policy.ts";
import { type HealthSettings, probeAddresses } from "../settings/settings.ts";
import { readBreakGlass } from "./break-glass-note.ts";
import { type CheckedRelease, checkArtifacts } from "./check-artifacts.ts";
import type { ApplyContext } from "./context.ts";
import { openRelease, type StoredRelease, storeRelease } from "./release-store.ts";

/** Returns what a gateway enforces before its first commit: nothing is allowed, to whichever host its probes speak as. */
function denyAll(health: HealthSettings): Policy {
  const place = { file: "built-in", line: 1, column: 1, pointer: "" };
  const names = probeAddresses(health).flatMap(({ host }) => (host === "*" ? [] : [host]));
  return {
    version: 1,
    mode: "deny-all",
    groups: [{ name: "*", names: [], networks: [], isProxied: false, place }],
    hosts: names.map((name) => ({ name, sources: [], group: "*", limits: null, place })),
    limits: null,
  };
}

/**
 * Returns the release that a revert goes back to: the confirmed one, or when that is damaged on disk the built-in one that
 * denies everything, until the next poll has compiled it again. With `only`, that release and no other is meant.
 * @throws AgentError STATE_CORRUPT, APPLY_CHECK_FAILED
 */
export async function openEnforced(context: ApplyContext, only?: string | null): Promise<CheckedRelease> {
  const confirmed = await openIfWhole(context, only);
  return confirmed ?? (await checkArtifacts(await storeDenyAll(context), context.verdicts));
}

/**
 * Returns the release that a revert goes back to now: the one that was opened earlier, unless another has taken its place
 * since. @throws AgentError STATE_CORRUPT, APPLY_CHECK_FAILED
 */
export async function reopenEnforced(context: ApplyContext, earlier: CheckedRelease): Promise<CheckedRelease> {
  return (await findInForce(context.paths)) === earlier.digest ? earlier : await openEnforced(context);
}

/** Returns the confirmed release, or null (and says so) when it is damaged on disk. @throws AgentError STATE_CORRUPT, APPLY_CHECK_FAILED */
async function openIfWhole(context: ApplyContext, only?: string | null): Promise<CheckedRelease | null> {
  try {
    return await openConfirmed(context, only);
  } catch (error) {
    if (!(error instanceof AgentError) || error.code !== "APPLY_RELEASE_DAMAGED") throw error;
    context.log.error({ event: "release-damaged", reason: error.message, remedy: error.remedy });
    return null;
  }
}

/**
 * Returns the confirmed release, checked against its digests; before the first confirmed commit the one that denies
 * everything, and while the glass is broken the one that is in force until its end.
 * @throws AgentError STATE_CORRUPT, APPLY_RELEASE_DAMAGED, APPLY_CHECK_FAILED
 */
export async function openConfirmed(context: ApplyContext, only?: string | null): Promise<CheckedRelease> {
  const { paths } = context;
  const release = only === undefined ? await findInForce(paths) : only;
  const stored =
    release === null ? await storeDenyAll(context) : await openRelease(paths.releases, release, context.digests);
  return await checkArtifacts(stored, context.verdicts);
}

/** Returns the digest of the release that should be in force; null before the first one. @throws AgentError STATE_CORRUPT */
export async function findInForce({ breakGlass, pointers }: ApplyContext["paths"]): Promise<string | null> {
  return (await readBreakGlass(breakGlass))?.release ?? (await readPointers(pointers)).confirmed.release;
}

async function storeDenyAll({ settings, paths }: ApplyContext): Promise<StoredRelease> {
  const release = compile({ policy: denyAll(settings.health), settings });
  const provenance = { commit: "0".repeat(40), serial: 0, repository: settings.repository.name, approvedBy: [] };
  return await storeRelease(paths.releases, release, provenance);
}
