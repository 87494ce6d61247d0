import type { DecisionKey } from "../decisions/decision.ts";
import type { Allowed } from "../policy/decide.ts";
import type { Place, PolicyEntry } from "../policy/policy.ts";
import type { Denial } from "./deny-record.ts";
import type { Tally, TallyBatch } from "./tally.ts";

/** Counts what the gate decides, or hears of, by what it was about. */
export interface DecisionTally {
  noteDenial(denial: Denial, count: number): void;
  /** A question that was let through, and what became of it: `allowed`, or why it was not answered after all. */
  noteQuery(client: string, name: string, type: string, reason: string, decision: Allowed | null): void;
  /** Refused packets of which only the client is known. */
  noteRest(client: string, reason: string, count: number): void;
  take(ack: string | null): TallyBatch;
  save(): string;
}

/**
 * Returns the counts over a tally. What the gateway's own probes ask, as `own` tells, is nobody's; `placeOf` tells where the
 * policy in force writes an entry.
 */
export function createDecisionTally(
  tally: Tally,
  own: ReadonlySet<string>,
  placeOf: (entry: PolicyEntry) => Place,
): DecisionTally {
  return {
    noteDenial: (denial, count) => {
      const { plane, verdict = "deny", reason, client, target } = denial;
      if (own.has(client)) return;
      tally.add(`${plane} ${verdict} ${reason} ${client} ${target}`, { count }, () => keyOfDenial(denial));
    },
    noteQuery: (client, name, type, reason, decision) => {
      if (own.has(client)) return;
      tally.add(`dns allow ${reason} ${client} ${name} ${type}`, { count: 1 }, () => ({
        ...nothingKnown,
        ...{ plane: "dns", verdict: "allow", reason, client, name, type },
        host: decision?.client.host?.name ?? null,
        label: decision?.label ?? null,
        rule: placeText(decision?.rule ? placeOf(decision.rule) : null),
      }));
    },
    noteRest: (client, reason, count) => {
      if (own.has(client)) return;
      const key = { ...nothingKnown, plane: "ip", verdict: "deny", reason, client } as const;
      tally.add(`ip deny ${reason} ${client}`, { count }, () => key);
    },
    take: tally.take,
    save: tally.save,
  };
}

const nothingKnown = {
  ...{ host: null, name: null, type: null, destination: null },
  ...{ port: null, protocol: null, label: null, rule: null },
};

/** Returns what a denial is counted by. */
export function keyOfDenial({ plane, verdict = "deny", reason, client, describe }: Denial): DecisionKey {
  const { host, name, names, type, destination, port, protocol, label, rule } = describe();
  return {
    ...{ plane, verdict, reason, client, host },
    // The first of the names that led the client to a refused address.
    name: name ?? names?.[0] ?? null,
    ...{ type, destination, port, protocol, label },
    rule: placeText(rule),
  };
}

/** Returns a place as it stands in an answer: `policy.json:12`; null for none. */
export function placeText(place: { readonly file: string; readonly line: number } | null | undefined): string | null {
  return place === null || place === undefined ? null : `${place.file}:${place.line}`;
}
