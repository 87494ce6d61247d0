import { join } from "node:path";
import type { Settings } from "./settings.ts";

/** Where things are when agent.json does not say. */
export const DEFAULT_PATHS = { state: "/var/lib/clawgress", run: "/run/clawgress" } as const;

/** Every file and folder that the program owns, derived from `paths` of agent.json. */
export interface Paths {
  /** Fsynced, survives a reboot. */
  readonly releases: string;
  readonly pointers: string;
  /** The root, locks, signatures and files that were approved. */
  readonly trust: string;
  readonly clock: string;
  /** What a gateway that lost its state asks to have signed; the signatures lie beside it. */
  readonly recovery: string;
  readonly badReleases: string;
  readonly outbox: string;
  /** An operator's word: nothing is applied, or nothing is open, until it is taken back. */
  readonly suspended: string;
  readonly lockdown: string;
  /** What was confirmed, in order. */
  readonly history: string;
  /** What operators ask of the running agent, and what it answered. */
  readonly requests: string;
  readonly answers: string;
  /** Folder of the gate's user. */
  readonly gateState: string;
  /** The latest time that the gate has seen. */
  readonly latestTime: string;
  readonly git: string;
  /** What was sent under byte caps: the gate's, in a folder that nobody else writes into. */
  readonly usage: string;
  /** Folder of the transaction in flight: `armed` names the release to go back to. */
  readonly transaction: string;
  /** What the revert timer did while the agent was away. */
  readonly timerNote: string;
  /** Held while rules, named or the gate are changed: @see createMachineTurn. */
  readonly applyLock: string;
  readonly agentLock: string;
  /** Gone after a reboot. */
  readonly status: string;
  /** Present while only the lifeline is open; says why. */
  readonly lifeline: string;
  /** Present while another program fights for our tables; says until when. */
  readonly fight: string;
  readonly base: string;
  readonly named: string;
  /** The only folder that named's user may write into: what root reads and writes is never in its hands. */
  readonly namedWork: string;
  readonly namedPid: string;
  readonly rndcKey: string;
  readonly gate: string;
  readonly gatePid: string;
  readonly gateSocket: string;
  readonly gateLog: string;
  /** Deny records; the file before it has `.1` behind its name. */
  readonly denyRecords: string;
  /** Where ulogd hands the gate what the kernel logs of refused packets. */
  readonly packetSocket: string;
  readonly packetLogConf: string;
  readonly packetLogPid: string;
  readonly packetLogOutput: string;
  readonly timerPid: string;
  /** Room in the run folder that is kept for a revert: @see takeBallast. */
  readonly ballast: string;
  readonly timerLog: string;
  readonly proxy: string;
  readonly proxyPid: string;
  readonly proxySocket: string;
  readonly proxyLog: string;
  /** What the proxy decided, a JSON object a line. */
  readonly proxyRecords: string;
  /** What the proxy has denied, counted. */
  readonly proxyTotals: string;
  /** The gateway's own repository and the key that signs what is committed to it. */
  readonly own: OwnRepositoryPaths;
  /** Keys of the HTTP API, hashed. */
  readonly apiKeys: string;
  /** Belongs to the API's user. */
  readonly decisions: string;
  readonly breakGlass: string;
  readonly breakGlassTransaction: string;
  readonly agentSocket: string;
  readonly api: string;
  readonly apiPid: string;
  readonly apiSocket: string;
  readonly apiLog: string;
}

export interface OwnRepositoryPaths {
  readonly repository: string;
  readonly key: string;
  readonly root: string;
  readonly allowedSigners: string;
}

/** Returns where a gateway without a remote repository keeps its own. */
export function ownRepositoryPaths(state: string): OwnRepositoryPaths {
  const own = join(state, "own");
  return {
    repository: join(own, "policy.git"),
    key: join(own, "key"),
    root: join(own, "root.json"),
    allowedSigners: join(own, "allowed-signers"),
  };
}

/** Returns the absolute paths of everything the program owns. */
export function pathsOf(settings: Pick<Settings, "paths">): Paths {
  const { state, run } = settings.paths;
  return {
    releases: join(state, "releases"),
    pointers: join(state, "pointers"),
    trust: join(state, "trust"),
    clock: join(state, "clock.json"),
    recovery: join(state, "recover.json"),
    badReleases: join(state, "bad-releases.json"),
    outbox: join(state, "outbox"),
    suspended: join(state, "suspended.json"),
    lockdown: join(state, "lockdown.json"),
    history: join(state, "history.json"),
    requests: join(state, "requests"),
    answers: join(run, "answers"),
    gateState: join(state, "gate"),
    latestTime: join(state, "gate", "latest-time"),
    git: join(state, "git"),
    usage: join(state, "gate", "usage.json"),
    transaction: join(state, "txn"),
    timerNote: join(state, "txn", "reverted-by-timer.json"),
    applyLock: join(state, "apply.lock"),
    agentLock: join(state, "agent.lock"),
    status: join(run, "status.json"),
    lifeline: join(run, "lifeline.json"),
    fight: join(run, "fight.json"),
    base: join(run, "base.nft"),
    named: join(run, "named"),
    namedWork: join(run, "named", "work"),
    namedPid: join(run, "named.pid.json"),
    rndcKey: join(run, "named", "rndc.key"),
    gate: join(run, "gate"),
    gatePid: join(run, "gate.pid.json"),
    gateSocket: join(run, "gate", "control.sock"),
    gateLog: join(run, "gate.log"),
    denyRecords: join(run, "gate", "deny.jsonl"),
    packetSocket: join(run, "gate", "packets.sock"),
    packetLogConf: join(run, "ulogd.conf"),
    packetLogPid: join(run, "ulogd.pid.json"),
    packetLogOutput: join(run, "ulogd.log"),
    timerPid: join(run, "revert-timer.pid.json"),
    ballast: join(run, "ballast"),
    timerLog: join(run, "revert-timer.log"),
    proxy: join(run, "proxy"),
    proxyPid: join(run, "proxy.pid.json"),
    proxySocket: join(run, "proxy", "control", "stats.sock"),
    proxyLog: join(run, "proxy.log"),
    proxyRecords: join(run, "proxy.jsonl"),
    proxyTotals: join(run, "proxy-totals.json"),
    own: ownRepositoryPaths(state),
    apiKeys: join(state, "api-keys.json"),
    decisions: join(state, "decisions"),
    breakGlass: join(state, "break-glass.json"),
    breakGlassTransaction: join(state, "break-glass"),
    agentSocket: join(run, "agent.sock"),
    api: join(run, "api"),
    apiPid: join(run, "api.pid.json"),
    apiSocket: join(run, "api", "telemetry.sock"),
    apiLog: join(run, "api.log"),
  };
}
