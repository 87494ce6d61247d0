import { randomUUID } from "node:crypto";
import { unlink } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import { AUDIT_SOURCE } from "../compile/release.ts";
import { openAppendLog } from "../host/append-log.ts";
import { monotonicMs, nowMs } from "../host/clock.ts";
import { readFileIfAny, replaceFile } from "../host/files.ts";
import { createHistogram } from "../host/histogram.ts";
import { openNftables } from "../host/nftables.ts";
import { openServiceManager, type ServiceManager } from "../host/service-manager.ts";
import { pathsOf } from "../settings/paths.ts";
import { probeClients, type Settings } from "../settings/settings.ts";
import { type AnswerQuery, createAnswerQuery, type GateState } from "./answer-queries.ts";
import { readCaps, readQuotas, writeCaps } from "./cap-kernel.ts";
import { createClientTable } from "./clients.ts";
import { readLatestTime, writeLatestTime } from "./clock-file.ts";
import { serveControl } from "./control-server.ts";
import type { CountUntold } from "./count-untold.ts";
import { createDecisionTally } from "./decision-tally.ts";
import { queryDenial } from "./deny-query.ts";
import { createDenyRecords, type DenyRecords } from "./deny-records.ts";
import { readFlowMarks } from "./flow-marks.ts";
import { createControl, type RunningControl } from "./gate-control.ts";
import { createHold } from "./hold.ts";
import { createHoursKeeper } from "./hours-keeper.ts";
import { isSetFilled, readKernelState } from "./kernel-read.ts";
import { openKernelWriter } from "./kernel-writer.ts";
import { listenRefused } from "./listen-refused.ts";
import { listenTcp } from "./listen-tcp.ts";
import { type Listener, listenUdp } from "./listen-udp.ts";
import { createMachines } from "./machines.ts";
import { createMeters, type Meters } from "./meters.ts";
import { openNeighbours } from "./neighbours.ts";
import { createOwnAddresses, type OwnAddresses } from "./own-addresses.ts";
import { createPins, type Pins } from "./pins.ts";
import { repeat, type Timers } from "./repeat.ts";
import { createTally } from "./tally.ts";
import { createTrustedClock, type TrustedClock } from "./trusted-clock.ts";
import { openUpstream } from "./upstream.ts";
import { typeText } from "./wire.ts";

export type GateLog = Pick<Logger, "info" | "warn" | "error">;

const UPSTREAM_TIMEOUT_MS = 4000;
const MAX_UPSTREAM_IN_FLIGHT = 4000;
const MAX_WAITING_IN_HOLD = 4096;
const MAX_PINS = 262_144;
const SPARED_PINS = 1024;
const MAX_PINS_PER_GROUP = MAX_PINS / 4;
const MAX_LIVE_GRANTS = 262_144;
const MAX_START_HOLD_MS = 10_000;
const CHECK_MS = 5000;
const CHECK_NOT_READY_MS = 500;
const TIDY_MS = 10_000;
const METER_RETRY_MS = 500;
const MAX_USAGE_BYTES = 64 * 1024 * 1024;
/** How soon a closing line follows, and how often the kernel is asked during a flood. */
const RECORDS_MS = 1000;
/** How late hours begin for names; they end by the kernel's clock. */
const HOURS_MS = 250;
const PERSIST_MS = 30_000;
/** Hundreds of schedules at once, on a slow machine. */
const MAX_SAVED_BYTES = 256 * 1024 * 1024;

/**
 * Runs the DNS gate until SIGTERM, SIGINT or the control call `shutdown`; what it pinned stays in the kernel. It needs
 * CAP_NET_ADMIN, and its port when that is below 1024, and no other privilege.
 * @throws AgentError HOST_FILE, HOST_MISSING, STATE_LOCKED; Error of the system when a port is taken.
 */
export async function runGate(settings: Settings, log: GateLog): Promise<void> {
  const manager = await openServiceManager();
  const paths = pathsOf(settings);
  const nftables = await openNftables();
  const nowS = (): number => monotonicMs() / 1000;
  const ownAddresses = createOwnAddresses();
  const state: GateState = {
    policy: null,
    named: { ok: false, detail: "named was not asked yet" },
    isKernelKnown: false,
    counters: new Map(),
    latency: createHistogram(),
    holds: createHistogram(),
  };
  const clock = createTrustedClock(
    { wallS: () => nowMs() / 1000, monotonicS: nowS },
    await readLatestTime(paths.latestTime),
  );
  const hours = createHoursKeeper(clock, {
    load: nftables.change,
    isFilled: (set) => isSetFilled(nftables, set),
  });
  const journal = openAppendLog(join(paths.gate, "grants.jsonl"), { mode: 0o640 });
  const denyLog = openAppendLog(paths.denyRecords, { mode: 0o640, maxBytes: settings.records.maxBytes / 2 });
  const writer = await openKernelWriter();
  const { maxPinsPerClient } = settings.gate;
  const pins = createPins({
    writer,
    readKernel: () => readKernelState(nftables),
    readFlowMarks,
    journal,
    bounds: {
      maxPinsPerClient,
      maxPinsPerGroup: MAX_PINS_PER_GROUP,
      maxPins: MAX_PINS,
      sparedPins: SPARED_PINS,
      maxLiveGrants: MAX_LIVE_GRANTS,
      maxLiveGrantsPerGroup: MAX_LIVE_GRANTS / 2,
    },
    nowS,
    onMismatch: (error) => {
      state.isKernelKnown = false;
      log.warn({ event: "pin-failed", reason: (error as Error).message });
    },
  });
  const meters = createMeters({
    readKernel: () => readCaps(nftables),
    readQuotas: () => readQuotas(nftables),
    write: (changes) => writeCaps(nftables, changes),
    load: async () => (await readFileIfAny(paths.usage, MAX_USAGE_BYTES))?.toString("utf8") ?? null,
    save: (text) => replaceFile(paths.usage, text, 0o640),
    nowMs,
    log,
  });
  const clients = createClientTable(settings.gate);
  const machines = createMachines({ read: await openNeighbours(), isOnLink: ownAddresses.isOnLink, nowS });
  const hold = createHold(MAX_WAITING_IN_HOLD);
  const named = {
    address: "127.0.0.1",
    port: settings.dns.namedPort,
    timeoutMs: UPSTREAM_TIMEOUT_MS,
    maxInFlight: MAX_UPSTREAM_IN_FLIGHT,
  };
  const upstream = await openUpstream(named);
  const auditUpstream = await openUpstream({ ...named, localAddress: AUDIT_SOURCE });
  const records = createDenyRecords({
    gateway: settings.gateway,
    planes: ["dns", "ip"],
    log: denyLog,
    nowMs,
    monotonicS: nowS,
    onError: (error) => log.warn({ event: "deny-record-lost", reason: (error as Error).message }),
  });
  const tallyFile = join(paths.gate, "tally.json");
  const saved = await readSaved(tallyFile);
  const tally = createDecisionTally(
    createTally({ epoch: randomUUID(), nowMs, saved }),
    probeClients(settings.health),
    (entry) => state.policy?.placeOf(entry) ?? entry.place,
  );
  const answer = createAnswerQuery({
    state,
    pins,
    upstream,
    auditUpstream,
    clients,
    machines,
    noteRefusal: (...refusal) => {
      const denial = queryDenial(...refusal);
      records.note(denial);
      tally.noteDenial(denial, 1);
    },
    noteQuery: ({ client, query }, reason, decision) => {
      tally.noteQuery(client, query.name ?? "", typeText(query.type), reason, decision);
    },
    hold,
    nowS,
    onError: (error) => log.error({ event: "query-failed", err: error }),
  });

  let stop = (): void => {};
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  const control = createControl({
    state,
    pins,
    meters,
    clients,
    hold,
    upstream,
    records,
    tally,
    folder: paths.gate,
    isOwnAddress: ownAddresses.has,
    clock,
    hours,
    log,
    stop,
  });
  process.once("SIGTERM", stop);
  process.once("SIGINT", stop);
  const listeners: Listener[] = [];
  const timers: Timers = {
    isStopped: false,
    handles: new Set(),
    onError: (error) => log.error({ event: "upkeep-failed", err: error }),
  };
  try {
    // Bound first, so that a second gate fails before it touches anything; who asks meanwhile waits.
    hold.begin(MAX_START_HOLD_MS);
    listeners.push(...(await listenEverywhere(settings.gate.port, answer, log)));
    await control.start();
    // Before the control socket: who sees that one answer may start ulogd.
    const refused = await listenRefused(settings, { state, pins, records, tally, meters, nftables, nowS });
    listeners.push(refused);
    listeners.push(await serveControl(paths.gateSocket, control));
    hold.end();
    keepMetering(timers, meters, log);
    keepChecking(timers, control, state, manager);
    keepRecords(timers, records, refused.untold, log);
    keepTime(timers, control, clock, paths.latestTime, log);
    keepTidying(timers, { pins, clients, control, ownAddresses, nowS });
    manager.ready();
    log.info({ event: "gate-answers", port: settings.gate.port, ready: state.named.ok });
    await stopped;
    manager.stopping();
  } finally {
    process.off("SIGTERM", stop);
    process.off("SIGINT", stop);
    timers.isStopped = true;
    for (const handle of timers.handles) clearTimeout(handle);
    hold.end();
    await Promise.all(listeners.map((listener) => listener.close()));
    upstream.close();
    auditUpstream.close();
    await pins.drain();
    await meters.close().catch((error: Error) => log.warn({ event: "usage-unsaved", reason: error.message }));
    await writeLatestTime(paths.latestTime, clock.latestS()).catch((error: Error) =>
      log.warn({ event: "time-unwritten", reason: error.message }),
    );
    writer.close();
    journal.close();
    denyLog.close();
    await replaceFile(tallyFile, tally.save(), 0o640);
  }
}

/** Client packets are redirected, so they arrive on whatever address the client's side of the gateway has. */
async function listenEverywhere(port: number, answer: AnswerQuery, log: GateLog): Promise<readonly Listener[]> {
  const listeners = [await listenUdp(4, port, answer), await listenTcp(4, port, answer)];
  try {
    listeners.push(await listenUdp(6, port, answer), await listenTcp(6, port, answer));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== "EAFNOSUPPORT" && code !== "EADDRNOTAVAIL") throw error;
    log.warn({ event: "no-ipv6", code });
  }
  return listeners;
}

function keepTime(
  timers: Timers,
  control: RunningControl,
  clock: TrustedClock,
  latestTimePath: string,
  log: GateLog,
): void {
  repeat(timers, async () => {
    await control.keepHours();
    return HOURS_MS;
  });
  let said = "";
  repeat(timers, async () => {
    const isBehind = clock.isBehind();
    if (isBehind !== (said === "behind")) log.warn({ event: isBehind ? "clock-behind" : "clock-caught-up" });
    said = isBehind ? "behind" : "";
    await writeLatestTime(latestTimePath, clock.latestS());
    return PERSIST_MS;
  });
}

/** What an earlier gate had counted and nobody had fetched. */
async function readSaved(path: string): Promise<string> {
  const bytes = await readFileIfAny(path, MAX_SAVED_BYTES);
  await unlink(path).catch(() => {
    // There was none.
  });
  return bytes?.toString("utf8") ?? "";
}

function keepRecords(timers: Timers, records: DenyRecords, untold: CountUntold, log: GateLog): void {
  let isTold = false;
  repeat(timers, async () => {
    try {
      await untold.compare();
      isTold = false;
    } catch (error) {
      if (!isTold) log.warn({ event: "refused-counters-unread", reason: (error as Error).message });
      isTold = true;
    }
    records.flush();
    return RECORDS_MS;
  });
}

/** The kernel counts and refuses without us; what stands still meanwhile is the calendar. */
function keepMetering(timers: Timers, meters: Pick<Meters, "look">, log: GateLog): void {
  let said = "";
  repeat(timers, async () => {
    try {
      const waitMs = await meters.look();
      said = "";
      return waitMs;
    } catch (error) {
      const reason = (error as Error).message;
      if (reason !== said) log.warn({ event: "caps-unread", reason });
      said = reason;
      return METER_RETRY_MS;
    }
  });
}

/** The sign of life for systemd comes from here: named and the kernel were asked, whatever they said. */
function keepChecking(timers: Timers, control: RunningControl, state: GateState, manager: ServiceManager): void {
  repeat(timers, async () => {
    try {
      await control.checkNow();
      if (!state.isKernelKnown) await control.repair();
    } finally {
      manager.alive();
    }
    return state.named.ok && state.isKernelKnown ? CHECK_MS : CHECK_NOT_READY_MS;
  });
}

function keepTidying(
  timers: Timers,
  parts: {
    readonly pins: Pins;
    readonly clients: { sweep(nowS: number): void };
    readonly control: RunningControl;
    readonly ownAddresses: OwnAddresses;
    readonly nowS: () => number;
  },
): void {
  repeat(timers, async () => {
    parts.ownAddresses.refresh();
    parts.clients.sweep(parts.nowS());
    await parts.pins.tidy();
    return TIDY_MS;
  });
}
