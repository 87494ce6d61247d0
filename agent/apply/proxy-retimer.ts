import { join } from "node:path";
import { isProxyTimed } from "../compile/proxy-hours.ts";
import { ABOUT_MAP } from "../compile/proxy-maps.ts";
import { nowMs } from "../host/clock.ts";
import { readFileIfAny } from "../host/files.ts";
import type { ApplyContext } from "./context.ts";
import { type ProxyTarget, retimeProxy } from "./proxy-service.ts";
import { gateInstant, nextProxyChange } from "./proxy-times.ts";
import { openRelease, readGateRelease } from "./release-store.ts";

const MAX_ABOUT_BYTES = 64 * 1024;
/** A step back of the clock that is more than its discipline. */
const JUMP_S = 2;

/** What the proxy goes by, and when that changes next. */
interface Known {
  readonly digest: string;
  readonly target: ProxyTarget;
  readonly isTimed: boolean;
  nextS: number;
  isBehind: boolean;
}

/**
 * Returns a look, to be taken often, whether hours of the running proxy's names have begun or ended, or the clock was put
 * back; then it tells the proxy, and ends the connections that are over. Returns whether there was something to do.
 */
export function createProxyRetimer(context: ApplyContext): () => Promise<boolean> {
  let known: Known | null = null;
  let seenS = 0;
  const load = async (digest: string): Promise<Known> => {
    const release = await openRelease(context.paths.releases, digest);
    const { policy } = await readGateRelease(release);
    return { digest, target: { release, policy }, isTimed: isProxyTimed(policy), nextS: 0, isBehind: false };
  };
  return async () => {
    const digest = await readProxyRelease(context);
    if (digest === null) return false;
    if (known?.digest !== digest) known = await load(digest);
    const wallS = nowMs() / 1000;
    const isPutBack = wallS < seenS - JUMP_S;
    const { isTimed, nextS } = known;
    if (!isTimed || (wallS < nextS && !isPutBack)) {
      seenS = Math.max(seenS, wallS);
      return false;
    }
    const current = known;
    return await context.inTurn(() =>
      context.locked(async () => {
        // A swap that came in between has done it.
        if ((await readProxyRelease(context)) !== current.digest) return false;
        const at = await gateInstant(context);
        await retimeProxy(context, current.target, at);
        current.nextS = typeof at === "number" ? nextProxyChange(current.target.policy, at) : wallS + 1;
        seenS = wallS;
        const isBehind = at === "unknown";
        // Nobody knows when a clock that is behind has caught up: it is looked at again and again.
        if (!isBehind || !current.isBehind) context.log.info({ event: "proxy-hours", behind: isBehind });
        current.isBehind = isBehind;
        return true;
      }),
    );
  };
}

/** Returns the release that the proxy was told to go by, or null when there is no proxy. */
async function readProxyRelease({ paths }: Pick<ApplyContext, "paths">): Promise<string | null> {
  const about = (await readFileIfAny(join(paths.proxy, ABOUT_MAP), MAX_ABOUT_BYTES))?.toString("utf8") ?? "";
  return /^release ([0-9a-f]{64})$/m.exec(about)?.[1] ?? null;
}
