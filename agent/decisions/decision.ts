/** Where a decision was made: at a question, at a packet, or in the proxy at a TLS hello or an HTTP request. */
export const planes = ["dns", "ip", "tls", "http"] as const;
export type DecisionPlane = (typeof planes)[number];

/** `would-deny`: it was let pass, because the client is under audit. */
export const verdicts = ["allow", "deny", "would-deny"] as const;
export type DecisionVerdict = (typeof verdicts)[number];

/** What decisions have in common that are counted together. Null means none, not of this plane, or too many to tell apart. */
export interface DecisionKey {
  readonly plane: DecisionPlane;
  readonly verdict: DecisionVerdict;
  /** `allowed`, or a reason of `policy/reasons.ts`. */
  readonly reason: string;
  readonly client: string | null;
  readonly host: string | null;
  readonly name: string | null;
  /** The type that was asked. */
  readonly type: string | null;
  readonly destination: string | null;
  readonly port: number | null;
  readonly protocol: string | null;
  readonly label: string | null;
  /** Where the rule stands that allowed it, or almost did: `policy.json:12`. */
  readonly rule: string | null;
}

/** Equal decisions of one second. */
export interface DecisionRow {
  /** Seconds since the epoch. */
  readonly atS: number;
  readonly key: DecisionKey;
  /** Questions, connections or refused packets; 0 where only more bytes of earlier connections are told. */
  readonly count: number;
  /** Bytes from the client towards the internet and back, with their IP headers. */
  readonly bytesUp: number;
  readonly bytesDown: number;
}

const fields = [
  ...(["plane", "verdict", "reason", "client", "host", "name"] as const),
  ...(["type", "destination", "port", "protocol", "label", "rule"] as const),
] as const satisfies readonly (keyof DecisionKey)[];

/** A key as it travels and is stored: the values in a fixed order. */
export type KeyValues = readonly (string | number | null)[];

/** Returns the values of a key in their fixed order. */
export function keyValues(key: DecisionKey): KeyValues {
  return fields.map((field) => key[field]);
}

/** Returns a text that no other values have: a missing one is told from an empty one, and none holds the separator. */
export function valuesText(values: KeyValues): string {
  return values.map((value) => value ?? "\x01").join("\0");
}

/** Returns a text that no other key has. */
export function keyText(key: DecisionKey): string {
  return valuesText(keyValues(key));
}

const MAX_TEXT = 1024;

/** Returns the key of values that another process wrote, or null when they are none. */
export function parseKeyValues(values: unknown): DecisionKey | null {
  if (!Array.isArray(values) || values.length !== fields.length) return null;
  const [plane, verdict, reason, client, host, name, type, destination, port, protocol, label, rule] =
    values as readonly unknown[];
  if (!planes.includes(plane as DecisionPlane) || !verdicts.includes(verdict as DecisionVerdict)) return null;
  const isSound =
    typeof reason === "string" &&
    [reason, client, host, name, type, destination, protocol, label, rule].every(isText) &&
    (port === null || isPort(port));
  if (!isSound) return null;
  const key = { plane, verdict, reason, client, host, name, type, destination, port, protocol, label, rule };
  return key as DecisionKey;
}

function isText(value: unknown): boolean {
  return value === null || (typeof value === "string" && value.length <= MAX_TEXT);
}

function isPort(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65_535;
}
