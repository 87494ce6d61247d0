import type { AppendLog } from "../host/append-log.ts";
import type { ActivePolicy } from "./active-policy.ts";
import type { Refusal } from "./judge-query.ts";
import { escapedNameText, rcode, typeText } from "./wire.ts";
import type { Query } from "./wire-query.ts";

/** Writes one JSON line per denial, within a rate per client and reason; what is left out is counted in the next line. */
export interface DenyRecords {
  note(
    refusal: Refusal,
    from: { readonly client: string; readonly query: Query | null },
    policy: ActivePolicy | null,
  ): void;
}

interface Rate {
  tokens: number;
  filledS: number;
  suppressed: number;
}

const BURST = 10;
const LINES_PER_S = 1;
/** Over this, the rate that began first is forgotten. */
const MAX_RATES = 10_000;

export interface DenyRecordsOptions {
  readonly gateway: string;
  readonly log: AppendLog;
  readonly nowMs: () => number;
  readonly monotonicS: () => number;
  /** Told when a line could not be written (the counters still count it). */
  readonly onError: (error: unknown) => void;
}

/** Returns the records over a log. */
export function createDenyRecords(options: DenyRecordsOptions): DenyRecords {
  const rates = new Map<string, Rate>();
  const rateOf = (key: string, nowS: number): Rate => {
    const known = rates.get(key);
    if (known !== undefined) return known;
    const [oldest] = rates.size >= MAX_RATES ? rates.keys() : [];
    if (oldest !== undefined) rates.delete(oldest);
    const rate: Rate = { tokens: BURST, filledS: nowS, suppressed: 0 };
    rates.set(key, rate);
    return rate;
  };
  return {
    note: (refusal, { client, query }, policy) => {
      const nowS = options.monotonicS();
      const rate = rateOf(`${refusal.reason} ${client}`, nowS);
      rate.tokens = Math.min(BURST, rate.tokens + (nowS - rate.filledS) * LINES_PER_S);
      rate.filledS = nowS;
      if (rate.tokens < 1) {
        rate.suppressed += 1;
        return;
      }
      rate.tokens -= 1;
      const line = JSON.stringify({
        ts: new Date(options.nowMs()).toISOString(),
        gateway: options.gateway,
        plane: "dns",
        reason: refusal.reason,
        client,
        host: refusal.client?.host?.name ?? null,
        group: refusal.client?.group.name ?? null,
        name: query === null ? null : (query.name ?? escapedNameText(query.nameBytes)),
        type: query === null ? null : typeText(query.type),
        nearMiss: refusal.nearMiss,
        commit: policy?.provenance.commit ?? null,
        serial: policy?.provenance.serial ?? null,
        action: actionText(refusal.rcode),
        suppressed: rate.suppressed,
      });
      rate.suppressed = 0;
      try {
        options.log.append(line);
      } catch (error) {
        options.onError(error);
      }
    },
  };
}

function actionText(code: number): string {
  const name = Object.entries(rcode).find(([, value]) => value === code)?.[0];
  return (name ?? `rcode${code}`).toLowerCase();
}
