import { type HoldNote, readHold } from "../apply/hold-notes.ts";
import { type LifelineNote, readLifeline } from "../apply/lifeline-note.ts";
import { type ProxyState, readProxyState } from "../apply/proxy-service.ts";
import { codes, type Json } from "../errors.ts";
import { createGateControl } from "../gate/control-client.ts";
import { findDaemon } from "../host/daemon.ts";
import { readFileIfAny } from "../host/files.ts";
import { readPointers } from "../host/pointer-store.ts";
import type { AgentStatus } from "../report/status-file.ts";
import { pathsOf } from "../settings/paths.ts";
import type { Settings } from "../settings/settings.ts";
import type { ConfirmedPointer, VerifiedPointer } from "../trust/pointers.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";

const MAX_STATUS_BYTES = 64 * 1024;

/** Says what is enforced, by whose approval, and what is wrong. Returns 0 when gate, named and the proxy serve what was confirmed and nothing stands against trusting it, else the status of what is wrong. */
export async function showStatus(options: { readonly config: string }, output: Output): Promise<number> {
  const settings = await loadSettings(options.config);
  const paths = pathsOf(settings);
  const { verified, confirmed, notes } = await readPointers(paths.pointers);
  const bytes = await readFileIfAny(paths.status, MAX_STATUS_BYTES);
  const agent = bytes === null ? null : (JSON.parse(bytes.toString("utf8")) as AgentStatus);
  const [named, ulogd, proxy, gate] = await Promise.all([
    findDaemon(paths.namedPid),
    findDaemon(paths.packetLogPid),
    readProxyState({ paths }),
    askGate(paths.gateSocket),
  ]);
  const lifeline = await readLifeline(paths.lifeline);
  const hasProxy = !proxy.isNeeded || proxy.pid !== null;
  const serves = lifeline === null && gate?.ready === true && gate.digest === confirmed.release && hasProxy;

  output.line(`gateway   ${settings.gateway}${settings.trust.insecure ? "  INSECURE: unsigned policies run" : ""}`);
  for (const line of describeLifeline(lifeline)) output.line(line);
  output.line(describeConfirmed(confirmed, lifeline === null));
  const suspended = await readHold(paths.suspended);
  for (const line of describeSuspended(suspended)) output.line(line);
  const audited = gate?.audited ?? [];
  for (const line of describeAudited(audited)) output.line(line);
  output.line(`verified  serial ${verified.serial}${verified.commit === null ? "" : `, commit ${verified.commit}`}`);
  for (const line of describeTrust(agent?.trust ?? null, confirmed.whole !== null)) output.line(line);
  output.line(`gate      ${describeGate(gate)}`);
  output.line(`named     ${describeDaemon(named, "")}`);
  if (proxy.isNeeded) output.line(`proxy     ${describeDaemon(proxy.pid, ": 443 and 80 are closed")}`);
  output.line(`ulogd     ${describeDaemon(ulogd, ": refused packets are counted, not recorded")}`);
  output.line(`last      ${describeLast(agent)}`);
  for (const note of notes) output.line(`note      ${note}`);
  output.document(
    toDocument({ settings, serves, verified, confirmed, notes, lifeline, suspended, gate, named, ulogd, proxy, agent }),
  );
  if (lifeline !== null) return codes[lifeline.code].exit;
  if (!serves) return codes.GATE_UNREACHABLE.exit;
  const [alarm] = agent?.trust?.alarms ?? [];
  return alarm === undefined ? 0 : codes[alarm.code].exit;
}

interface Parts {
  readonly settings: Settings;
  readonly serves: boolean;
  readonly verified: VerifiedPointer;
  readonly confirmed: ConfirmedPointer;
  readonly notes: readonly string[];
  readonly lifeline: LifelineNote | null;
  readonly suspended: HoldNote | null;
  readonly gate: GateStatus | null;
  readonly named: number | null;
  readonly ulogd: number | null;
  readonly proxy: ProxyState;
  readonly agent: AgentStatus | null;
}

function toDocument(parts: Parts): { readonly [key: string]: Json } {
  const { settings, serves, verified, confirmed, notes, lifeline, suspended, gate, named, ulogd, proxy, agent } = parts;
  return {
    ok: serves,
    gateway: settings.gateway,
    insecure: settings.trust.insecure,
    verified: { ...verified } as unknown as Json,
    confirmed: { ...confirmed },
    state: lifeline === null ? (serves ? "enforcing" : "not-serving") : lifeline.state,
    lifeline: lifeline === null ? null : { ...lifeline },
    suspended: suspended === null ? null : { ...suspended },
    audited: [...(gate?.audited ?? [])],
    gate: gate as unknown as Json,
    named: { pid: named },
    ulogd: { pid: ulogd },
    proxy: { pid: proxy.pid, isNeeded: proxy.isNeeded },
    trust: (agent?.trust ?? null) as unknown as Json,
    last: (agent?.last ?? null) as unknown as Json,
    notes: [...notes],
  };
}

type GateStatus = Awaited<ReturnType<ReturnType<typeof createGateControl>["status"]>>;

async function askGate(socket: string): Promise<GateStatus | null> {
  try {
    return await createGateControl(socket).status();
  } catch {
    // Not answering is an answer here: the lines below say so.
    return null;
  }
}

function describeConfirmed({ release, serial, commit, at }: ConfirmedPointer, isInForce: boolean): string {
  if (release === null) return "enforced  nothing is confirmed yet: everything but the lifeline is denied";
  return `${isInForce ? "enforced " : "confirmed"} serial ${serial}, commit ${commit}, since ${at}`;
}

function describeDaemon(pid: number | null, consequence: string): string {
  return pid === null ? `does not run${consequence}` : `runs (pid ${pid})`;
}

function describeLifeline(note: LifelineNote | null): readonly string[] {
  if (note === null) return [];
  const next =
    note.state === "lockdown" ? "until an operator ends it" : "every poll tries to restore what is confirmed";
  return [
    `CLOSED    since ${note.since} only the lifeline is open; ${next}`,
    `          ${note.code}: ${note.message}`,
  ];
}

function describeSuspended(note: HoldNote | null): readonly string[] {
  return note === null ? [] : [`SUSPENDED by ${note.by} since ${note.since}: ${note.reason}`];
}

/** Root, freshness and what stands against trusting what is enforced, as the agent found it after its last poll. */
function describeTrust(trust: AgentStatus["trust"], isNarrowed: boolean): readonly string[] {
  if (trust === null) return [];
  const { root, freshness, alarms, narrowing, clockBehindMs } = trust;
  const until = freshness.untilMs === null ? "" : new Date(freshness.untilMs).toISOString();
  const states = {
    FRESH: `FRESH until ${until}`,
    STALE: `STALE since ${until}`,
    EXPIRED: `EXPIRED, not fresh since ${until}`,
    UNWATCHED: "nobody watches for withheld updates",
  };
  const behindS = Math.round(clockBehindMs / 1000);
  return [
    `trust     root ${root}; ${states[freshness.state]}`,
    ...alarms.flatMap(({ code, message, remedy }) => [`ALARM     ${code}: ${message}`, `          → ${remedy}`]),
    ...(isNarrowed ? [`NARROWED  ${narrowing}: less is open than the policy allows, until the alarm is over`] : []),
    ...(behindS > 60 ? [`clock     ${behindS} s behind what this gateway knows has passed: correct it`] : []),
  ];
}

function describeAudited(groups: readonly string[]): readonly string[] {
  if (groups.length === 0) return [];
  const names = groups.map((group) => (group === "*" ? "clients without own rules" : group));
  const but = "but private and reserved addresses; what would be is in the gate's records";
  return [`mode      AUDIT: NOTHING IS DENIED to ${names.join(", ")} ${but}`];
}

function describeGate(gate: GateStatus | null): string {
  if (gate === null) return "does not answer: no client resolves anything";
  const state = gate.ready ? "serves" : "does not serve yet";
  return `${state}, ${gate.pins} pins for ${gate.clients} clients; named ${gate.named.ok ? "proved" : `not proved: ${gate.named.detail}`}`;
}

function describeLast(agent: AgentStatus | null): string {
  if (agent?.last == null) return "the agent has not done a cycle yet";
  const { outcome, commit, at, code, message, remedy } = agent.last;
  const why = code === null ? "" : `\n          ${code}: ${message}${remedy === null ? "" : `\n          → ${remedy}`}`;
  return `${outcome} ${commit ?? ""} at ${at}${why}`;
}
