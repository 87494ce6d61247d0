import { join } from "node:path";
import type { Logger } from "pino";
import { nowMs } from "../host/clock.ts";
import { readFileIfAny, replaceFile } from "../host/files.ts";
import type { ForgeSettings, Settings } from "../settings/settings.ts";
import type { CommitId } from "../source/source.ts";
import { describeOutcome, type Outcome } from "./describe.ts";
import { type Delivery, type Forge, openForge, type StatusClient } from "./forge.ts";
import { describeGitea } from "./gitea.ts";
import { describeGithub } from "./github.ts";
import { describeGitlab } from "./gitlab.ts";
import {
  emptyOutbox,
  enqueue,
  markPosted,
  nextDue,
  type Outbox,
  parseOutbox,
  postpone,
  type QueuedStatus,
  remove,
} from "./outbox.ts";

/** Tells the forge what became of each commit. Nothing here throws into the agent: a forge that is down only fills the outbox. */
export interface Reporter {
  /** Writes the outcome into the outbox on disk; sends nothing. */
  post(commit: CommitId, outcome: Outcome): Promise<void>;
  /**
   * Sends each status that is due, one attempt each, and returns when none is due. Called after every cycle; a call while
   * another is at work joins it.
   */
  drain(signal: AbortSignal): Promise<void>;
  /** How many statuses wait, and why the last attempt failed (null when it did not). */
  state(): { readonly queued: number; readonly lastFailure: string | null };
  close(): Promise<void>;
}

export interface ReporterOptions {
  readonly settings: Pick<Settings, "gateway" | "report" | "repository" | "dns">;
  /** Holds `outbox.json`. */
  readonly folder: string;
  readonly log: Logger;
}

const MAX_OUTBOX_BYTES = 1024 * 1024;

/** Returns the reporter, or null when no forge is configured. @throws AgentError SETTINGS_INVALID for the forge's address */
export async function openReporter(options: ReporterOptions): Promise<Reporter | null> {
  const { settings, folder, log } = options;
  const { forge } = settings.report;
  if (forge === null) return null;
  const client = openForge(describeForge(forge, settings.repository.branch), {
    ...forge,
    proxy: settings.repository.proxy,
    dnsServers: settings.dns.upstreams,
    dnsPort: settings.dns.upstreamPort,
    nowMs,
  });
  return await startReporter(client, `clawgress/${settings.gateway}`, join(folder, "outbox.json"), log, Math.random);
}

function describeForge({ kind, repository }: ForgeSettings, branch: string): Forge {
  if (kind === "gitlab") return describeGitlab(repository, branch);
  return kind === "gitea" ? describeGitea(repository) : describeGithub(repository);
}

/** Returns a reporter of one context over any client; `random` gives numbers from 0 to 1. */
export async function startReporter(
  client: StatusClient,
  context: string,
  file: string,
  log: Logger,
  random: () => number,
): Promise<Reporter> {
  let outbox = await readOutbox(file, log);
  let lastFailure: string | null = null;
  let draining: Promise<void> | null = null;
  let saving: Promise<void> = Promise.resolve();

  /** Writes are in order; the one that comes last writes the newest. */
  const save = async (next: Outbox): Promise<void> => {
    if (next === outbox) return;
    outbox = next;
    saving = saving.then(async () => {
      try {
        await replaceFile(file, `${JSON.stringify(outbox, null, 2)}\n`, 0o600);
      } catch (error) {
        log.warn({ event: "outbox-not-saved", reason: (error as Error).message });
      }
    });
    await saving;
  };

  const settle = async (sent: QueuedStatus, delivery: Delivery): Promise<void> => {
    const { commit, state } = sent;
    if (delivery.kind === "posted") {
      lastFailure = null;
      log.info({ event: "status-posted", commit, state, context });
      await save(markPosted(outbox, sent));
    } else if (delivery.kind === "drop") {
      log.error({ event: "status-dropped", commit, state, reason: delivery.reason });
      await save(remove(outbox, sent));
    } else {
      // The same reason again is no news: it is warned of once.
      const level = lastFailure === delivery.reason ? "debug" : "warn";
      lastFailure = delivery.reason;
      log[level]({ event: "status-postponed", commit, state, reason: delivery.reason, attempts: sent.attempts + 1 });
      await save(postpone(outbox, sent, delivery.waitMs, nowMs(), random()));
    }
  };

  const drain = async (signal: AbortSignal): Promise<void> => {
    for (;;) {
      const due = signal.aborted ? null : nextDue(outbox, nowMs());
      if (due === null) return;
      const { state, description } = due;
      const delivery = await client.post(due.commit, context, { state, description }, signal);
      // Given up because the agent ends: the attempt does not count.
      if (signal.aborted && delivery.kind === "retry") return;
      await settle(due, delivery);
    }
  };

  return {
    post: async (commit, outcome) => await save(enqueue(outbox, commit, describeOutcome(outcome))),
    drain: async (signal) => {
      draining ??= drain(signal).finally(() => {
        draining = null;
      });
      await draining;
    },
    state: () => ({ queued: outbox.queued.length, lastFailure }),
    close: async () => {
      await client.close();
      await draining;
      await saving;
    },
  };
}

/** A damaged outbox costs statuses, never the agent. */
async function readOutbox(file: string, log: Logger): Promise<Outbox> {
  try {
    const bytes = await readFileIfAny(file, MAX_OUTBOX_BYTES);
    if (bytes === null) return emptyOutbox;
    const outbox = parseOutbox(bytes);
    if (outbox !== null) return outbox;
    log.warn({ event: "outbox-reset", reason: `${file} is not an outbox` });
  } catch (error) {
    log.warn({ event: "outbox-reset", reason: (error as Error).message });
  }
  return emptyOutbox;
}
