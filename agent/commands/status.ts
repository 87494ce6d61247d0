import { codes, type Json } from "../errors.ts";
import type { GatewayStatus } from "../report/gateway-status.ts";
import { readGatewayStatus } from "../report/read-gateway-status.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";

/** Says what is enforced, by whose approval, and what is wrong. Returns 0 when gate, named and the proxy serve what was confirmed, else the status of what is wrong. */
export async function showStatus(options: { readonly config: string }, output: Output): Promise<number> {
  const status = await readGatewayStatus(await loadSettings(options.config));
  for (const line of describeStatus(status)) output.line(line);
  output.document(status as unknown as Json);
  if (status.lifeline !== null) return codes[status.lifeline.code].exit;
  if (!status.ok) return codes.GATE_UNREACHABLE.exit;
  const [alarm] = status.trust?.alarms ?? [];
  return alarm === undefined ? 0 : codes[alarm.code].exit;
}

/** Returns a status as lines for people. */
export function describeStatus(status: GatewayStatus): readonly string[] {
  const { gateway, insecure, lifeline, audited, verified, gate, named, proxy, ulogd, breakGlass, pending, suspended } =
    status;
  return [
    `gateway   ${gateway}${insecure ? "  INSECURE: unsigned policies run" : ""}`,
    ...describeLifeline(lifeline),
    ...(breakGlass === null
      ? []
      : [
          `BROKEN    glass: a policy that nobody approved is in force until ${breakGlass.until}`,
          `          by ${breakGlass.by} since ${breakGlass.since}: ${breakGlass.reason}`,
        ]),
    ...describeConfirmed(status),
    ...describeSuspended(suspended),
    ...(audited.length === 0 ? [] : [`mode      AUDIT: NOTHING IS DENIED to ${describeAudited(audited)}`]),
    `verified  serial ${verified.serial}${verified.commit === null ? "" : `, commit ${verified.commit}`}`,
    ...describeTrust(status),
    ...(pending === null ? [] : [`pending   ${pending.commit} is not in force: ${pending.outcome}, ${pending.code}`]),
    ...describeTimes(status),
    `gate      ${describeGate(gate)}`,
    ...describeHours(gate),
    `named     ${describeDaemon(named.pid, "")}`,
    ...(proxy.isNeeded ? [`proxy     ${describeDaemon(proxy.pid, ": 443 and 80 are closed")}`] : []),
    `ulogd     ${describeDaemon(ulogd.pid, ": refused packets are counted, not recorded")}`,
    `agent     ${describeDaemon(status.agent.pid, ": nothing changes, and nothing is repaired")}`,
    `api       ${describeDaemon(status.api.pid, ": decisions wait to be stored")}`,
    `last      ${describeLast(status)}`,
    ...describeDrift(status),
    ...status.degraded.map((text) => `wrong     ${text}`),
    ...status.notes.map((note) => `note      ${note}`),
  ];
}

function describeLifeline(note: GatewayStatus["lifeline"]): readonly string[] {
  if (note === null) return [];
  const next =
    note.state === "lockdown" ? "until an operator ends it" : "every poll tries to restore what is confirmed";
  return [
    `CLOSED    since ${note.since} only the lifeline is open; ${next}`,
    `          ${note.code}: ${note.message}`,
  ];
}

function describeSuspended(note: GatewayStatus["suspended"]): readonly string[] {
  return note === null ? [] : [`SUSPENDED by ${note.by} since ${note.since}: ${note.reason}`];
}

/** Root, freshness and what stands against trusting what is enforced, as the agent found it after its last poll. */
function describeTrust({ trust, confirmed }: GatewayStatus): readonly string[] {
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
  const isNarrowed = confirmed.whole !== null;
  return [
    `trust     root ${root}; ${states[freshness.state]}`,
    ...alarms.flatMap(({ code, message, remedy }) => [`ALARM     ${code}: ${message}`, `          → ${remedy}`]),
    ...(isNarrowed ? [`NARROWED  ${narrowing}: less is open than the policy allows, until the alarm is over`] : []),
    ...(behindS > 60 ? [`clock     ${behindS} s behind what this gateway knows has passed: correct it`] : []),
  ];
}

function describeConfirmed({ confirmed, lifeline, breakGlass }: GatewayStatus): readonly string[] {
  if (confirmed.release === null) {
    return ["enforced  nothing is confirmed yet: everything but the lifeline is denied"];
  }
  const word = lifeline === null && breakGlass === null ? "enforced " : "confirmed";
  const { serial, commit, at, approvedBy } = confirmed;
  const by = approvedBy.length === 0 ? "nobody" : approvedBy.join(", ");
  return [`${word} serial ${serial}, commit ${commit}, since ${at}`, `approved  by ${by}`];
}

function describeTimes({ times, stale }: GatewayStatus): readonly string[] {
  const never = (time: string | null): string => time ?? "never";
  return [
    `polled    ${never(times.lastPoll)}${stale ? "  STALE" : ""}; last change seen ${never(times.lastChange)}`,
    `          last verified ${never(times.lastVerified)}; last applied ${never(times.lastApplied)}`,
  ];
}

function describeDaemon(pid: number | null, consequence: string): string {
  return pid === null ? `does not run${consequence}` : `runs (pid ${pid})`;
}

function describeAudited(groups: readonly string[]): string {
  const names = groups.map((group) => (group === "*" ? "clients without own rules" : group));
  return `${names.join(", ")} but private and reserved addresses; what would be is in the gate's records`;
}

function describeGate(gate: GatewayStatus["gate"]): string {
  if (gate === null) return "does not answer: no client resolves anything";
  const state = gate.ready ? "serves" : "does not serve yet";
  return `${state}, ${gate.pins} pins for ${gate.clients} clients; named ${gate.named.ok ? "proved" : `not proved: ${gate.named.detail}`}`;
}

function describeHours(gate: GatewayStatus["gate"]): readonly string[] {
  if (gate?.clock.isBehind !== true) return [];
  return ["hours     CLOSED: the clock shows a time before one that the gate has seen; correct it"];
}

function describeLast({ last }: GatewayStatus): string {
  if (last === null) return "the agent has not done a cycle yet";
  const { outcome, commit, at, code, message, remedy } = last;
  const why = code === null ? "" : `\n          ${code}: ${message}${remedy === null ? "" : `\n          → ${remedy}`}`;
  return `${outcome} ${commit ?? ""} at ${at}${why}`;
}

function describeDrift({ drift }: GatewayStatus): readonly string[] {
  if (drift.restored === 0) return [];
  return [
    `drift     rules of ours were changed by somebody else and put back ${drift.restored} times, last ${drift.lastAt}`,
  ];
}
