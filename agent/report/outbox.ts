import type { CommitId } from "../source/source.ts";
import { SEEN, type Status } from "./describe.ts";

/** A status that waits for delivery: the newest of its commit. */
export interface QueuedStatus extends Status {
  readonly commit: CommitId;
  readonly attempts: number;
  /** Milliseconds since the epoch. */
  readonly notBeforeMs: number;
}

/** What the forge was told last about a commit. */
export interface PostedStatus extends Status {
  readonly commit: CommitId;
}

/** The statuses of one context, oldest first; plain data that is one JSON file. */
export interface Outbox {
  readonly version: 1;
  readonly queued: readonly QueuedStatus[];
  readonly posted: readonly PostedStatus[];
}

export const emptyOutbox: Outbox = { version: 1, queued: [], posted: [] };

const MAX_QUEUED = 100;
const MAX_POSTED = 100;
const FIRST_WAIT_MS = 5_000;
const MAX_WAIT_MS = 15 * 60_000;
const TWO_DAYS_MS = 2 * 86_400_000;

/**
 * Returns the outbox with a status for a commit, or the same outbox when it says nothing new: only a change of state or
 * description is worth a request. That a commit was seen follows nothing, and why it waits follows only that. An older
 * status of the commit is superseded; the waiting time stays, so that a failing forge is not asked more often because more
 * happens.
 */
export function enqueue(outbox: Outbox, commit: CommitId, status: Status): Outbox {
  const waiting = outbox.queued.find((entry) => entry.commit === commit);
  const known = waiting ?? outbox.posted.find((entry) => entry.commit === commit);
  if (known !== undefined && isSameNews(known, status)) return outbox;
  if (known !== undefined && status.description === SEEN) return outbox;
  if (status.state === "pending" && known !== undefined && known.state !== "pending") return outbox;
  const others = outbox.queued.filter((entry) => entry.commit !== commit);
  const entry = { commit, ...status, attempts: waiting?.attempts ?? 0, notBeforeMs: waiting?.notBeforeMs ?? 0 };
  return { ...outbox, queued: [...others, entry].slice(-MAX_QUEUED) };
}

/** Returns the oldest status that is due, or null. */
export function nextDue(outbox: Outbox, nowMs: number): QueuedStatus | null {
  // A clock that was set back must not hold statuses for ever: no wait is as long as this.
  return outbox.queued.find(({ notBeforeMs }) => notBeforeMs <= nowMs || notBeforeMs > nowMs + TWO_DAYS_MS) ?? null;
}

/** Returns the outbox after a delivery; a status that was superseded meanwhile stays in the queue. */
export function markPosted(outbox: Outbox, sent: QueuedStatus): Outbox {
  const { commit, state, description } = sent;
  const others = outbox.posted.filter((entry) => entry.commit !== commit);
  return {
    ...remove(outbox, sent),
    posted: [...others, { commit, state, description }].slice(-MAX_POSTED),
  };
}

/** Returns the outbox without a status that no attempt can deliver. */
export function remove(outbox: Outbox, sent: QueuedStatus): Outbox {
  return { ...outbox, queued: outbox.queued.filter((entry) => !isSame(entry, sent)) };
}

/**
 * Returns the outbox after a failed attempt: the commit waits 5 s, doubled each time up to 15 min, of which a random half
 * is left out so that gateways do not come back together; when the forge asks for a pause, everything waits that long.
 */
export function postpone(
  outbox: Outbox,
  sent: QueuedStatus,
  waitMs: number | null,
  nowMs: number,
  random: number,
): Outbox {
  const backoffMs = Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(sent.attempts, 20)) * (1 - random / 2);
  const pauseMs = waitMs === null ? 0 : waitMs * (1 + random / 10);
  const queued = outbox.queued.map((entry) => {
    const isMine = entry.commit === sent.commit;
    const untilMs = nowMs + Math.max(pauseMs, isMine ? backoffMs : 0);
    const notBeforeMs = Math.max(entry.notBeforeMs, Math.round(untilMs));
    return { ...entry, notBeforeMs, attempts: isMine ? entry.attempts + 1 : entry.attempts };
  });
  return { ...outbox, queued };
}

/** Returns the outbox in a file's bytes, or null when they are not one. */
export function parseOutbox(bytes: Buffer): Outbox | null {
  try {
    const parsed = JSON.parse(bytes.toString("utf8")) as { [key: string]: unknown } | null;
    const { version, queued, posted } = parsed ?? {};
    if (version !== 1 || !Array.isArray(queued) || !Array.isArray(posted)) return null;
    if (queued.length > MAX_QUEUED || posted.length > MAX_POSTED) return null;
    if (!queued.every(isQueued) || !posted.every(isPosted)) return null;
    return { version, queued, posted };
  } catch {
    return null;
  }
}

/** A failure that is tried again comes back with other durations and sizes: those are no news. */
function isSameNews(known: Status, status: Status): boolean {
  const gist = (text: string): string => (status.state === "error" ? text.replace(/[0-9]+/g, "0") : text);
  return known.state === status.state && gist(known.description) === gist(status.description);
}

function isSame(a: QueuedStatus, b: QueuedStatus): boolean {
  return a.commit === b.commit && a.state === b.state && a.description === b.description;
}

function isPosted(value: unknown): value is PostedStatus {
  const { commit, state, description } = (value ?? {}) as { [key: string]: unknown };
  const isState = typeof state === "string" && ["pending", "success", "failure", "error"].includes(state);
  const isText = typeof description === "string" && description.length <= 560;
  return typeof commit === "string" && /^[0-9a-f]{40}$/.test(commit) && isState && isText;
}

function isQueued(value: unknown): value is QueuedStatus {
  const { attempts, notBeforeMs } = (value ?? {}) as { [key: string]: unknown };
  return isPosted(value) && Number.isSafeInteger(attempts) && Number.isSafeInteger(notBeforeMs);
}
