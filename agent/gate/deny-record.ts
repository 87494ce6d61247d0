import type { Provenance } from "../compile/release.ts";
import type { Client } from "../policy/decide.ts";
import type { Notes, PolicyEntry } from "../policy/policy.ts";
import type { Plane, Reason, Severity } from "../policy/reasons.ts";
import type { ActivePolicy } from "./active-policy.ts";

/** What the denied side notices: an rcode, a TCP reset, an ICMP error, nothing, the end of its connection, or an HTTP status; `pass`: that it is let pass. */
export type DenyAction =
  | "nxdomain"
  | "refused"
  | "servfail"
  | "formerr"
  | "notimp"
  | "badvers"
  | "rst"
  | "icmp"
  | "drop"
  | "close"
  | "http-status"
  | "pass";

/** `would-deny`: it was let pass, because the client is under audit. */
export type DenyVerdict = "deny" | "would-deny";

/** One line of the deny records: `policy-schema/deny-record.schema.json`. Every key is always there; null means none, or not of this plane. */
export interface DenyRecord extends DenialDetails {
  readonly ts: string;
  readonly schema: 1;
  readonly gateway: string;
  readonly plane: Plane;
  readonly verdict: DenyVerdict;
  readonly reason: Reason;
  readonly severity: Severity;
  readonly client: string;
  /** Denials of this client for this reason on this plane since the gate began, this one included. */
  readonly count: number;
  /** How many of them were not written since the line before of the same client and reason. */
  readonly suppressed: number;
}

/** What only a written line needs. */
export interface DenialDetails {
  readonly host: string | null;
  readonly group: string | null;
  readonly name: string | null;
  readonly type: string | null;
  readonly interface: string | null;
  readonly destination: string | null;
  readonly port: number | null;
  readonly protocol: string | null;
  /** Names that the client was answered with this destination, and that still hold. */
  readonly names: readonly string[] | null;
  readonly label: string | null;
  /** What people wrote beside the rule. */
  readonly notes: Notes | null;
  readonly nearMiss: string | null;
  readonly rule: { readonly file: string; readonly line: number; readonly pointer: string } | null;
  readonly commit: string | null;
  readonly serial: number | null;
  readonly action: DenyAction;
  /** What only the proxy of SNI mode knows. */
  readonly proxy: ProxyDetails | null;
}

/** A connection or request as the proxy saw it. */
export interface ProxyDetails {
  /** Of this decision alone. */
  readonly id: string;
  readonly clientPort: number;
  /** Of the HTTP answer, the proxy's own included. */
  readonly status: number | null;
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Until the server accepted; -1 if it did not. */
  readonly connectMs: number;
  readonly ms: number;
  /** How it ended, in HAProxy's letters; null for as it should. */
  readonly end: string | null;
  /** True for a ClientHello with the extension of ECH: nobody can tell it from GREASE, and the outer name counts. */
  readonly ech: boolean;
}

/** A decision to deny. Only what is written is described: a flood must cost nothing but a count. */
export interface Denial {
  readonly plane: Plane;
  /** Default `deny`. */
  readonly verdict?: DenyVerdict;
  readonly reason: Reason;
  readonly client: string;
  /** When it was decided, milliseconds since 1970; default now. */
  readonly atMs?: number;
  /** What it was about, in a few words: equal denials of a client have equal ones. */
  readonly target: string;
  readonly describe: () => DenialDetails;
}

/** Why a decision was near to another one. */
export interface Nearest {
  readonly nearMiss: string | null;
  readonly nearRule: PolicyEntry | null;
}

const MAX_TEXT = 500;

/** What is told of the policy that decided. */
interface DecidedBy {
  readonly provenance: Pick<Provenance, "commit" | "serial">;
  /** Missing where rules know their places themselves. */
  readonly placeOf?: ActivePolicy["placeOf"];
}

/** Returns the details that planes have in common; a plane adds its own. */
export function commonDetails(
  action: DenyAction,
  client: Client | null,
  near: Nearest | null,
  policy: DecidedBy | null,
): DenialDetails {
  const rule = near?.nearRule ?? null;
  const place = rule === null ? undefined : (policy?.placeOf?.(rule) ?? rule.place);
  return {
    host: client?.host?.name ?? null,
    group: client?.group.name ?? null,
    name: null,
    type: null,
    interface: null,
    destination: null,
    port: null,
    protocol: null,
    names: null,
    label: near?.nearRule?.label ?? null,
    notes: near?.nearRule?.notes ?? null,
    nearMiss: near?.nearMiss?.slice(0, MAX_TEXT) ?? null,
    rule: place === undefined ? null : { file: place.file, line: place.line, pointer: place.pointer },
    commit: policy?.provenance.commit ?? null,
    serial: policy?.provenance.serial ?? null,
    action,
    proxy: null,
  };
}
