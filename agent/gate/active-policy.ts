import { createHash } from "node:crypto";
import { isAbsolute, join } from "node:path";
import type { GateRelease, Provenance } from "../compile/release.ts";
import { AgentError } from "../errors.ts";
import { readFileBytes } from "../host/files.ts";
import { findCap } from "../policy/caps.ts";
import { type Allowed, buildDecider, type Client, type Decider, type Decision } from "../policy/decide.ts";
import { scheduleText } from "../policy/hours.ts";
import { patternText } from "../policy/pattern-text.ts";
import type { ByteCap, NameRule, NetworkDenial, NetworkRule, Place, PolicyEntry, PortRange } from "../policy/policy.ts";
import { portText } from "../policy/ports.ts";
import { addressPorts } from "../policy/proxied.ts";
import type { Reason } from "../policy/reasons.ts";
import { scheduleOf, scheduleOfAny } from "../policy/schedules.ts";
import { addressKind, embeddedAddress } from "./addresses.ts";
import type { LiveGrant } from "./grant-table.ts";
import type { NameAccess, PolicyView } from "./ledger.ts";
import { type LoadedShards, loadShards } from "./load-shards.ts";
import { groupMarkOf, type PinOwner } from "./pin-owner.ts";
import { type ClassRange, planClasses } from "./pin-plan.ts";
import type { TrustedClock } from "./trusted-clock.ts";

/** Why an allowed name may not lead to an address, and the entry of the policy that says so or would have to. */
export interface AnswerRefusal {
  readonly reason: Extract<Reason, "private-answer" | "denied-explicit">;
  readonly entry: NameRule | NetworkDenial | NetworkRule | null;
  /** Whether an audit lets it pass all the same: what only `deny` closes, and what is public. */
  readonly isSparedByAudit: boolean;
}

/** A loaded release, indexed for the questions that the gate asks of it. */
export interface ActivePolicy extends PolicyView {
  readonly digest: string;
  readonly folder: string;
  readonly release: GateRelease;
  readonly provenance: Provenance;
  readonly decider: Decider;
  /** Returns who an address is, the probes' reserved ones included. */
  clientOf(address: string): Client;
  /** Returns why an allowed name may not lead its client to an address, or null when it may. */
  refuseAnswer(decision: Allowed, address: string): AnswerRefusal | null;
  /** Returns where an entry of the release is written. */
  placeOf(entry: PolicyEntry): Place;
  /** Its long lists; null when it has none. */
  readonly shards: LoadedShards | null;
  /** Returns what an allowed decision opens; null when the release gives its group no mark. */
  accessFor(decision: Allowed): NameAccess | null;
}

const MAX_RELEASE_BYTES = 256 * 1024 * 1024;
const MAX_MANIFEST_BYTES = 1024 * 1024;
/** Sets of ports differ little within a policy; the plans of this many are kept. */
const MAX_PLANS = 1000;

/**
 * Returns the release in a folder, after checking its files against the manifest and taking the digest of the manifest.
 * What it has in common with the release in force is not read again.
 * @throws AgentError GATE_REFUSED when a file is missing, damaged or no release of this version.
 */
export async function loadPolicy(
  folder: string,
  surroundings: Surroundings,
  inForce: ActivePolicy | null = null,
): Promise<ActivePolicy> {
  if (!isAbsolute(folder)) throw refused(folder, "the path is not absolute");
  try {
    const manifestBytes = await readFileBytes(join(folder, "manifest.json"), MAX_MANIFEST_BYTES);
    const gateBytes = await readFileBytes(join(folder, "gate.json"), MAX_RELEASE_BYTES);
    const provenanceBytes = await readFileBytes(join(folder, "provenance.json"), MAX_MANIFEST_BYTES);
    const manifest = JSON.parse(manifestBytes.toString("utf8")) as { readonly [path: string]: unknown };
    if (manifest["gate.json"] !== sha256(gateBytes)) throw refused(folder, "gate.json is not what manifest.json lists");
    const release = JSON.parse(gateBytes.toString("utf8")) as GateRelease;
    if (release.schema !== 1) throw refused(folder, `gate.json has schema ${String(release.schema)}, not 1`);
    const provenance = JSON.parse(provenanceBytes.toString("utf8")) as Provenance;
    const { sharded } = release;
    const shards = sharded === undefined ? null : await loadShards(folder, sharded, manifest, inForce?.shards ?? null);
    return indexPolicy({ digest: sha256(manifestBytes), folder, release, provenance, shards }, surroundings);
  } catch (error) {
    if (error instanceof AgentError && error.code === "GATE_REFUSED") throw error;
    throw refused(folder, error instanceof Error ? error.message : String(error), error);
  }
}

/** What decisions depend on besides the policy. */
export interface Surroundings {
  readonly isOwnAddress: (address: string) => boolean;
  readonly clock: Pick<TrustedClock, "now" | "intervalsOf">;
}

/** Returns a release with its answers. */
export function indexPolicy(
  loaded: Pick<ActivePolicy, "digest" | "folder" | "release" | "provenance"> & Partial<Pick<ActivePolicy, "shards">>,
  { isOwnAddress, clock }: Surroundings,
): ActivePolicy {
  const { release, shards = null } = loaded;
  const decider = buildDecider(release.policy, clock.now, shards?.tables);
  const groups = new Map(release.policy.groups.map((group) => [group.name, group]));
  const plans = new Map<string, readonly ClassRange[]>();
  /** Undefined: always; null: at no time that the release knows, so never. */
  const hoursOfRange = ({ basis }: Allowed, range: PortRange): number | null | undefined => {
    const schedule = scheduleOf(basis, range);
    return schedule === null ? undefined : (release.schedules?.[scheduleText(schedule)]?.mark ?? null);
  };
  const planOf = (decision: Allowed): readonly ClassRange[] => {
    const ports = portsOf(decision);
    const hours = new Map(ports.map((range) => [range, hoursOfRange(decision, range)]));
    const key = ports.map((range) => `${portText(range)} ${String(hours.get(range))}`).join();
    const known = plans.get(key);
    if (known !== undefined) return known;
    if (plans.size >= MAX_PLANS) plans.clear();
    const open = ports.filter((range) => hours.get(range) !== null);
    const lastOf = (range: PortRange): number => scheduleOf(decision.basis, range)?.untilS ?? Number.POSITIVE_INFINITY;
    const plan = planClasses(open, release.classes, lastOf).map((entry): ClassRange => {
      const mark = hours.get(entry.range);
      return mark == null ? entry : { ...entry, hours: mark };
    });
    plans.set(key, plan);
    return plan;
  };
  const probes = probeClients(release);
  const capMarks = new Map((release.caps ?? []).map((cap) => [capKey(cap.group, cap), cap.mark]));
  const clientOf = (address: string): Client => probes.get(address) ?? decider.clientOf(address);
  const groupsByMark = new Map(Object.entries(release.groups).map(([name, mark]) => [mark, groups.get(name)]));
  const clientOfOwner = (owner: PinOwner): Client | null => {
    const mark = groupMarkOf(owner);
    if (mark === null) return clientOf(owner);
    const group = groupsByMark.get(mark);
    return group === undefined ? null : { host: null, group };
  };
  const accessFor = (decision: Allowed): NameAccess | null => {
    const groupName = decision.client.group.name;
    const groupMark = release.groups[groupName];
    if (groupMark === undefined) return null;
    const schedule = scheduleOfAny(decision.basis);
    const leftS = schedule === null ? Number.POSITIVE_INFINITY : (clock.intervalsOf(schedule, 0)[0]?.leftS ?? 0);
    const end = Number.isFinite(leftS) ? { endsInS: leftS } : {};
    return { groupMark, groupName, classes: planOf(decision), ...end };
  };
  const decideFor = (owner: PinOwner, name: string): Decision | null => {
    const client = clientOfOwner(owner);
    return client === null ? null : decider.decideName(client, name);
  };
  const decideLive = ({ groupName, groupMark, grant }: LiveGrant): Given | null => {
    const group = groups.get(groupName);
    if (group === undefined || release.groups[groupName] !== groupMark) return null;
    const decision = decider.decideName({ host: null, group }, grant.name);
    if (decision.verdict !== "allow") return null;
    const range = findCover(portsOf(decision), grant.range);
    return range === null ? null : { decision, range };
  };
  const refuseAnswer = (decision: Allowed, address: string): AnswerRefusal | null => {
    const kind = addressKind(address);
    const notOpen: AnswerRefusal = { reason: "private-answer", entry: decision.rule, isSparedByAudit: false };
    if (kind === "never") return notOpen;
    const isPublic = kind === "public" && !isOwnAddress(address);
    // A translator beyond the gateway would lead a packet to the IPv4 address inside.
    for (const meant of [address, embeddedAddress(address)]) {
      const denial = meant === null ? null : decider.deniesAddress(decision.client, meant);
      if (denial !== null) return { reason: "denied-explicit", entry: denial, isSparedByAudit: isPublic };
    }
    if (isPublic) return null;
    return decider.mayAnswer(decision, address) ? null : notOpen;
  };
  return {
    ...loaded,
    shards,
    placeOf: (entry) => shards?.placeOf(entry) ?? entry.place,
    decider,
    clientOf,
    refuseAnswer,
    accessFor,
    accessOf: (owner, name) => {
      const decision = decideFor(owner, name);
      return decision?.verdict === "allow" ? accessFor(decision) : null;
    },
    mayReach: (owner, name, address) => {
      const decision = decideFor(owner, name);
      if (decision?.verdict !== "allow") return false;
      const refusal = refuseAnswer(decision, address);
      return refusal === null || (refusal.isSparedByAudit && decision.client.group.mode === "audit");
    },
    capOf: (groupName, name) => {
      const cap = findCap(groups.get(groupName)?.caps, name);
      return cap === null ? null : (capMarks.get(capKey(groupName, cap)) ?? null);
    },
    stands: (live) => {
      const given = decideLive(live);
      return given !== null && hoursOfRange(given.decision, given.range) !== null;
    },
    hoursOf: (live) => {
      const given = decideLive(live);
      return given === null ? undefined : (hoursOfRange(given.decision, given.range) ?? undefined);
    },
    remembers: (owner, name) => {
      const decision = decideFor(owner, name);
      return decision?.verdict === "deny" && (decision.reason === "outside-window" || decision.reason === "expired");
    },
  };
}

/** A decision, and the range of its ports that a running flow goes on by. */
interface Given {
  readonly decision: Allowed;
  readonly range: PortRange;
}

/**
 * Returns the range as it is written, else the narrowest that holds all of it: a flow goes on when its ports are written
 * wider now, though its pin may be gone. Null when there is none.
 */
function findCover(ports: readonly PortRange[], { protocol, first, last }: PortRange): PortRange | null {
  const covers = ports.filter((range) => range.protocol === protocol && range.first <= first && range.last >= last);
  return covers.sort((a, b) => a.last - a.first - (b.last - b.first))[0] ?? null;
}

function capKey(group: string, { pattern }: Pick<ByteCap, "pattern">): string {
  return `${group} ${patternText(pattern)}`;
}

/** What goes through the proxy opens no address. */
function portsOf({ client, ports }: Allowed): readonly PortRange[] {
  return addressPorts(client.group, ports);
}

/** A probe whose host the policy does not have follows the group of unknown clients, as its packets do. */
function probeClients({ policy, probes }: GateRelease): ReadonlyMap<string, Client> {
  const clients = new Map<string, Client>();
  for (const { address, host: hostName } of probes) {
    const host = policy.hosts.find(({ name }) => name === hostName) ?? null;
    const group = policy.groups.find(({ name }) => name === (host?.group ?? "*"));
    if (group !== undefined) clients.set(address, { host, group });
  }
  return clients;
}

/** What stands when there is no release: nothing. */
export const nothingAllowed: PolicyView = {
  capOf: () => null,
  accessOf: () => null,
  mayReach: () => false,
  stands: () => false,
  hoursOf: () => undefined,
  remembers: () => false,
};

function refused(folder: string, reason: string, cause?: unknown): AgentError {
  return new AgentError("GATE_REFUSED", `the gate cannot load the release in ${folder}: ${reason}`, {
    remedy: "the folder and its files must be readable for the gate's user",
    cause,
  });
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
