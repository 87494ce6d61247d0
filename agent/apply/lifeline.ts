import { rm } from "node:fs/promises";
import { join } from "node:path";
import { lifelineRuleset } from "../compile/nft-objects.ts";
import type { AgentError } from "../errors.ts";
import { nowMs } from "../host/clock.ts";
import { stopDaemon } from "../host/daemon.ts";
import { ensureBase } from "./base-service.ts";
import type { ApplyContext } from "./context.ts";
import { loadRuleset } from "./kernel.ts";
import { type LifelineNote, readLifeline, writeLifeline } from "./lifeline-note.ts";
import { removeProxy } from "./proxy-service.ts";

const GATE_GRACE_MS = 2_000;

/**
 * The last resort: nothing is stamped, so the base table refuses everything but the lifeline, and the gate serves nothing.
 * Runs under the apply lock. Each part is tried whatever becomes of the others, and each failure is logged; it never
 * throws. The first part that succeeds closes everything already.
 */
export async function fallToLifeline(
  context: ApplyContext,
  because: AgentError,
  state: LifelineNote["state"],
): Promise<void> {
  const { paths, log } = context;
  const attempt = async (part: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      log.error({ event: "lifeline-incomplete", part, reason: (error as Error).message });
    }
  };
  const earlier = await readLifeline(paths.lifeline);
  const { code, message, remedy } = because;
  // The same trouble at every attempt is told once.
  log[earlier?.message === message ? "debug" : "error"]({ event: "lifeline-only", code, reason: message, remedy });
  await attempt("base table", () => ensureBase(context));
  await attempt("policy table", () => loadRuleset(lifelineRuleset));
  await attempt("gate", () => withdrawGate(context));
  await attempt("proxy", () => removeProxy(context));
  await attempt("note", async () => {
    // It stays what it was when it began, whatever the next attempt to leave it fails at.
    const began = earlier ?? { state, since: new Date(nowMs()).toISOString() };
    await writeLifeline(paths.lifeline, { state: began.state, code, message, since: began.since });
  });
}

/** A gate that cannot be told is ended, and starts again without a release: then it denies everything. */
async function withdrawGate({ gate, paths }: ApplyContext): Promise<void> {
  try {
    await gate.withdraw();
  } catch {
    await stopDaemon(paths.gatePid, GATE_GRACE_MS);
    await rm(join(paths.gate, "release"), { force: true });
  }
}
