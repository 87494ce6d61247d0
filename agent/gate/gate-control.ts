import { unlink } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import { AgentError } from "../errors.ts";
import { nowMs, sleepMs } from "../host/clock.ts";
import { readFileIfAny, replaceFile } from "../host/files.ts";
import { createTurn } from "../host/turn.ts";
import { type ActivePolicy, loadPolicy, nothingAllowed } from "./active-policy.ts";
import type { GateState } from "./answer-queries.ts";
import type { ClientTable } from "./clients.ts";
import type { GateControl } from "./control-client.ts";
import type { DecisionTally } from "./decision-tally.ts";
import type { DenyRecords } from "./deny-records.ts";
import { describeGrants } from "./describe-grants.ts";
import { countExpiring, countPinsByGroup } from "./gate-facts.ts";
import { findGroupMoves } from "./group-moves.ts";
import type { Hold } from "./hold.ts";
import type { HoursKeeper } from "./hours-keeper.ts";
import { parseJournal } from "./journal.ts";
import type { Meters } from "./meters.ts";
import { checkNamed } from "./named-check.ts";
import type { Pins } from "./pins.ts";
import type { TrustedClock } from "./trusted-clock.ts";
import type { Upstream } from "./upstream.ts";

export interface GateParts {
  readonly state: GateState;
  readonly pins: Pins;
  readonly meters: Pick<Meters, "activate" | "usages">;
  readonly clients: ClientTable;
  readonly hold: Hold;
  readonly upstream: Upstream;
  readonly records: Pick<DenyRecords, "totals">;
  readonly tally: Pick<DecisionTally, "take">;
  /** Folder of the gate's run files. */
  readonly folder: string;
  readonly isOwnAddress: (address: string) => boolean;
  readonly clock: TrustedClock;
  readonly hours: HoursKeeper;
  readonly log: Pick<Logger, "info" | "warn" | "error">;
  readonly stop: () => void;
}

/** The control calls, and the care for what they rest on. */
export interface RunningControl extends GateControl {
  /** Asks named for its canaries and notes the outcome. */
  checkNow(): Promise<void>;
  /** Loads the release that was in force last, if there is one, and takes over what is in the kernel. */
  start(): Promise<void>;
  /** Makes ledger and kernel agree again after a failed write. Never rejects. */
  repair(): Promise<void>;
  /** Puts into force what hours have begun or ended since it was called last. Call it often. Never rejects. */
  keepHours(): Promise<void>;
}

const MAX_PATH_BYTES = 4096;
const MAX_JOURNAL_BYTES = 256 * 1024 * 1024;
/** A check that fails is made once more after this before clients feel it: a reload is under way, or a packet was lost. */
const RECHECK_MS = 200;
/** A named that hangs does not keep the gate from starting; until it answers, nobody is served. */
const FIRST_CHECK_MS = 1000;

const MAX_AUDITED_NAMES = 20;
const COUNT_MS = 10_000;

function auditedNames(policy: ActivePolicy | null): readonly string[] {
  if (policy === null || policy.release.policy.mode === "deny-all") return [];
  const groups = policy.release.policy.groups.filter(({ mode }) => mode === "audit");
  return groups.slice(0, MAX_AUDITED_NAMES).map(({ name }) => name);
}

/** Returns the control of a gate's parts. Calls that change something run one after the other. */
export function createControl(parts: GateParts): RunningControl {
  const { state, pins, hold, hours, clock, log } = parts;
  const releaseFile = join(parts.folder, "release");
  const journalFile = join(parts.folder, "grants.jsonl");
  const startedAt = new Date(nowMs()).toISOString();
  let prepared: ActivePolicy | null = null;
  let lastTrouble: string | null = null;
  const inTurn = createTurn();
  let counted: { readonly atMs: number; readonly pins: { readonly [group: string]: number } } | null = null;
  /** Counting a hundred thousand keeps queries waiting for some milliseconds: not at every status. */
  const pinsByGroup = (): { readonly [group: string]: number } => {
    if (counted === null || Math.abs(nowMs() - counted.atMs) > COUNT_MS) {
      counted = { atMs: nowMs(), pins: countPinsByGroup(pins.ledger, state.policy) };
    }
    return counted.pins;
  };
  const recover = async (policy: ActivePolicy | null): Promise<void> => {
    const journal = (await readFileIfAny(journalFile, MAX_JOURNAL_BYTES))?.toString("utf8") ?? "";
    state.isKernelKnown = false;
    await parts.meters.activate(policy?.release.caps ?? []);
    await hours.rewrite(policy?.release ?? null);
    await pins.recover(parseJournal(journal), policy ?? nothingAllowed);
    state.isKernelKnown = true;
  };
  const checkOnce = async (): Promise<GateState["named"]> => {
    const releases = [state.policy, prepared].flatMap((policy) => (policy === null ? [] : [policy.release]));
    return await checkNamed(parts.upstream, releases);
  };
  const checkNow = async (): Promise<void> => {
    const { policy, named } = state;
    const wasOk = named.ok;
    let health = await checkOnce();
    if (wasOk && !health.ok) {
      await sleepMs(RECHECK_MS);
      health = await checkOnce();
    }
    // What was found out about an earlier release says nothing about this one.
    if (state.policy !== policy) return;
    if (health.ok !== state.named.ok) {
      log[health.ok ? "info" : "warn"]({ event: "named-checked", ok: health.ok, detail: health.detail });
    }
    state.named = health;
  };
  const activate = async (digest: string): Promise<void> => {
    const next = prepared?.digest === digest ? prepared : state.policy;
    if (next === null || next.digest !== digest) {
      throw new AgentError("GATE_REFUSED", `release ${digest.slice(0, 64)} is not prepared`);
    }
    const previous = state.policy;
    // The policy counts from here on; a pin that is asked for by the old one is judged again.
    state.policy = next;
    try {
      // The same release again: somebody doubts that the kernel is as it should be.
      if (previous?.digest === digest || !state.isKernelKnown) await recover(next);
      else {
        // A counter stands before the first grant counts for it, and the times before the grants that keep to them: no flow
        // that goes on falls between the two.
        await parts.meters.activate(next.release.caps ?? []);
        await hours.add([next.release]);
        await pins.activate(next);
      }
      await replaceFile(releaseFile, `${next.folder}\n`, 0o644);
    } catch (error) {
      state.policy = previous;
      state.isKernelKnown = false;
      throw error;
    }
    prepared = null;
    const { commit, serial } = next.provenance;
    log.info({ event: "policy-activated", digest, commit, serial });
  };
  const retime = async (): Promise<void> => {
    const { policy } = state;
    if (policy === null || !state.isKernelKnown || !hours.hasChanged(policy.release)) return;
    try {
      await hours.add([policy.release]);
      await pins.activate(policy);
      log.info({ event: "hours-changed", behind: clock.isBehind() });
    } catch (error) {
      state.isKernelKnown = false;
      log.warn({ event: "hours-unwritten", reason: (error as Error).message });
    }
  };
  const withdraw = async (): Promise<void> => {
    // First what a restart finds, then what counts now: in between both say less than before.
    await unlink(releaseFile).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
    prepared = null;
    if (state.policy === null) return;
    state.policy = null;
    hold.end();
    log.warn({ event: "policy-withdrawn" });
    if (state.isKernelKnown) await pins.activate(nothingAllowed);
    else await recover(null);
  };
  const repair = async (): Promise<void> => {
    if (state.isKernelKnown) return;
    try {
      await recover(state.policy);
      log.info({ event: "pins-recovered", pins: pins.ledger.pins });
      lastTrouble = null;
    } catch (error) {
      // It is tried twice a second: the same trouble again is no news, and the log is a file of the run folder.
      const reason = (error as Error).message;
      if (reason !== lastTrouble) log.warn({ event: "pins-unknown", reason });
      lastTrouble = reason;
    }
  };
  return {
    status: async () => ({
      ready: state.policy !== null && state.named.ok && state.isKernelKnown,
      pid: process.pid,
      digest: state.policy?.digest ?? null,
      commit: state.policy?.provenance.commit ?? null,
      serial: state.policy?.provenance.serial ?? null,
      isHeld: hold.isHeld,
      audited: auditedNames(state.policy),
      pins: pins.ledger.pins,
      pinsByGroup: pinsByGroup(),
      collectedGrants: pins.collectedGrants(),
      expiring: state.policy === null ? {} : countExpiring(state.policy.release.policy, nowMs() / 1000),
      latency: state.latency.read(),
      holds: state.holds.read(),
      grants: pins.ledger.grants.live.size,
      clients: parts.clients.size(),
      residentBytes: process.memoryUsage.rss(),
      startedAt,
      denials: parts.records.totals(),
      counters: Object.fromEntries([...state.counters].sort(([a], [b]) => (a < b ? -1 : 1))),
      named: state.named,
      clock: { latestS: clock.latestS(), isBehind: clock.isBehind() },
    }),
    caps: async () => parts.meters.usages(),
    spentCaps: async () => parts.meters.usages().filter(({ isSpent }) => isSpent),
    prepare: (folder) =>
      inTurn(async () => {
        prepared = await loadPolicy(folder, parts, state.policy);
        // Best before anything refers to them; where there is no table yet, nothing does.
        if (state.isKernelKnown) await hours.add([state.policy?.release ?? null, prepared.release]);
        return prepared.digest;
      }),
    hold: async (maxMs) => {
      hold.begin(maxMs);
      await pins.drain();
    },
    anticipate: (digest) =>
      inTurn(async () => {
        const { policy } = state;
        if (policy === null || prepared?.digest !== digest || !state.isKernelKnown) return;
        await pins.anticipate(prepared, findGroupMoves(policy, prepared));
      }),
    activate: async (digest) => {
      await inTurn(() => activate(digest));
      await checkNow();
    },
    resume: async () => hold.end(),
    withdraw: () => inTurn(withdraw),
    tally: async (ack) => parts.tally.take(ack),
    describeGrants: async (pairs) =>
      state.policy === null ? pairs.map(() => null) : describeGrants(state.policy, pins.ledger.grants, pairs),
    shutdown: async () => {
      setImmediate(parts.stop);
    },
    checkNow,
    repair: () => inTurn(repair),
    keepHours: () => inTurn(retime),
    start: async () => {
      await inTurn(async () => {
        const folder = (await readFileIfAny(releaseFile, MAX_PATH_BYTES))?.toString("utf8").trim() ?? "";
        if (folder !== "") {
          try {
            state.policy = await loadPolicy(folder, parts);
          } catch (error) {
            log.error({ event: "release-missing", folder, reason: (error as Error).message });
          }
        }
        await repair();
      });
      await Promise.race([checkNow(), sleepMs(FIRST_CHECK_MS)]);
    },
  };
}
