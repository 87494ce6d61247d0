import type { DecisionPlane } from "../decisions/decision.ts";
import { keyOfDenial } from "../gate/decision-tally.ts";
import type { Denial } from "../gate/deny-record.ts";
import type { Tally } from "../gate/tally.ts";

/** Counts a line of the proxy's records: what went through it does not pass where the kernel counts. */
export function countProxyRecord(tally: Pick<Tally, "add">, line: string): void {
  const record = parseRecord(line);
  if (record === null) return;
  const { plane, verdict, reason, client, name, bytesUp, bytesDown } = record;
  const amount = { count: 1, bytesUp, bytesDown };
  tally.add(`${plane} ${verdict} ${reason} ${client} ${name}`, amount, () => ({
    ...{ plane, verdict, reason, client, name, type: null, destination: null, protocol: "tcp" },
    // The gate knows it; it is asked when the counts are fetched.
    host: null,
    port: plane === "tls" ? 443 : 80,
    ...{ label: null, rule: null },
  }));
}

interface Counted {
  readonly plane: DecisionPlane;
  readonly verdict: "allow" | "deny";
  readonly reason: string;
  readonly client: string;
  readonly name: string | null;
  readonly bytesUp: number;
  readonly bytesDown: number;
}

function parseRecord(line: string): Counted | null {
  try {
    const record = JSON.parse(line) as { readonly [field: string]: unknown };
    const { plane, verdict, reason, client, name } = record;
    const { bytesUp, bytesDown } = (record["proxy"] ?? {}) as { readonly [field: string]: unknown };
    const isKnown = (plane === "tls" || plane === "http") && (verdict === "allow" || verdict === "deny");
    if (!isKnown || typeof reason !== "string" || typeof client !== "string") return null;
    return {
      ...{ plane, verdict, reason, client },
      name: typeof name === "string" ? name : null,
      bytesUp: countOf(bytesUp),
      bytesDown: countOf(bytesDown),
    };
  } catch {
    return null;
  }
}

function countOf(value: unknown): number {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : 0;
}

/** Counts what the proxy denied. */
export function countProxyDenial(tally: Pick<Tally, "add">, denial: Denial, count: number): void {
  const { plane, verdict = "deny", reason, client, target } = denial;
  tally.add(`${plane} ${verdict} ${reason} ${client} ${target}`, { count }, () => keyOfDenial(denial));
}

/** Counts what the proxy denied and did not tell: only its number is known, and of whom. */
export function countProxyRest(
  tally: Pick<Tally, "add">,
  plane: DecisionPlane,
  client: string,
  reason: string | null,
  count: number,
): void {
  const why = reason ?? "default-deny";
  tally.add(`${plane} deny ${why} ${client}`, { count }, () => ({
    ...{ plane, verdict: "deny", reason: why, client, host: null, name: null, type: null },
    ...{ destination: null, port: null, protocol: null, label: null, rule: null },
  }));
}
