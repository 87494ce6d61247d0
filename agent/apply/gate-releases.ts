import type { GateRelease } from "../compile/release.ts";
import type { ApplyContext } from "./context.ts";
import { readGateRelease, type StoredRelease } from "./release-store.ts";

/** The one in force, the one that comes, and the one before, to which a revert goes. */
const MAX_KNOWN = 3;

/** Keeps what a release says, so that no step of an apply reads it again. */
export function rememberGateRelease(
  { gateReleases }: Pick<ApplyContext, "gateReleases">,
  digest: string,
  gate: GateRelease,
): void {
  gateReleases.delete(digest);
  gateReleases.set(digest, gate);
  for (const oldest of gateReleases.keys()) {
    if (gateReleases.size <= MAX_KNOWN) break;
    gateReleases.delete(oldest);
  }
}

/** Returns what a release says; its digest names its content, so what is known of it is what its files say. @throws AgentError APPLY_RELEASE_DAMAGED */
export async function gateReleaseOf(
  context: Pick<ApplyContext, "gateReleases">,
  release: StoredRelease,
): Promise<GateRelease> {
  const known = context.gateReleases.get(release.digest) ?? (await readGateRelease(release));
  rememberGateRelease(context, release.digest, known);
  return known;
}
