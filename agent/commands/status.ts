import { readLifeline } from "../apply/lifeline-note.ts";
import { readProxyState } from "../apply/proxy-service.ts";
import { type Code, codes, type Json } from "../errors.ts";
import { createGateControl } from "../gate/control-client.ts";
import { findDaemon } from "../host/daemon.ts";
import { readFileIfAny } from "../host/files.ts";
import { readPointers } from "../host/pointer-store.ts";
import type { AgentStatus } from "../report/status-file.ts";
import { pathsOf } from "../settings/paths.ts";
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
  if (lifeline !== null) {
    output.line(
      `CLOSED    since ${lifeline.since} only the lifeline is open; every poll tries to restore what is confirmed`,
    );
    output.line(`          ${lifeline.code}: ${lifeline.message}`);
  }
  output.line(describeConfirmed(confirmed, lifeline === null));
  const audited = gate?.audited ?? [];
  if (audited.length > 0) output.line(`mode      AUDIT: NOTHING IS DENIED to ${describeAudited(audited)}`);
  output.line(describeVerified(verified));
  for (const line of describeTrust(agent?.trust ?? null, confirmed.whole !== null)) output.line(line);
  output.line(`gate      ${describeGate(gate)}`);
  output.line(`named     ${describeDaemon(named, "")}`);
  if (proxy.isNeeded) output.line(`proxy     ${describeDaemon(proxy.pid, ": 443 and 80 are closed")}`);
  output.line(`ulogd     ${describeDaemon(ulogd, ": refused packets are counted, not recorded")}`);
  output.line(`last      ${describeLast(agent)}`);
  for (const note of notes) output.line(`note      ${note}`);
  output.document({
    ok: serves,
    gateway: settings.gateway,
    insecure: settings.trust.insecure,
    verified: { ...verified } as unknown as Json,
    confirmed: { ...confirmed },
    state: lifeline === null ? (serves ? "enforcing" : "not-serving") : lifeline.state,
    lifeline: lifeline === null ? null : { ...lifeline },
    audited: [...audited],
    gate: gate as unknown as Json,
    named: { pid: named },
    ulogd: { pid: ulogd },
    proxy: { pid: proxy.pid, isNeeded: proxy.isNeeded },
    trust: (agent?.trust ?? null) as unknown as Json,
    last: (agent?.last ?? null) as unknown as Json,
    notes: [...notes],
  });
  const alarm = agent?.trust?.alarms[0]?.code ?? null;
  return exitOf([lifeline?.code ?? null, serves ? null : "GATE_UNREACHABLE", alarm]);
}

/** The first thing that is wrong decides. */
function exitOf(wrong: readonly (Code | null)[]): number {
  const first = wrong.find((code) => code !== null);
  return first == null ? 0 : codes[first].exit;
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

function describeDaemon(pid: number | null, consequence: string): string {
  return pid === null ? `does not run${consequence}` : `runs (pid ${pid})`;
}

function describeVerified({ serial, commit }: VerifiedPointer): string {
  return `verified  serial ${serial}${commit === null ? "" : `, commit ${commit}`}`;
}

function describeConfirmed({ release, serial, commit, at }: ConfirmedPointer, isInForce: boolean): string {
  if (release === null) return "enforced  nothing is confirmed yet: everything but the lifeline is denied";
  return `${isInForce ? "enforced " : "confirmed"} serial ${serial}, commit ${commit}, since ${at}`;
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

function describeAudited(groups: readonly string[]): string {
  const names = groups.map((group) => (group === "*" ? "clients without own rules" : group));
  return `${names.join(", ")} but private and reserved addresses; what would be is in the gate's records`;
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
