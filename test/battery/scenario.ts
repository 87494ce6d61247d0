import type { DnsResult } from "../lab/client.ts";
import type { PacketFilter } from "../lab/counters.ts";
import type { Scene } from "./scene.ts";

/**
 * One way round a gateway, named by its ID. The same scenario is played before a gateway that enforces a policy, where
 * the attack must get nothing, and before an open one, where it must get something: so that a test of it can fail.
 */
export interface Scenario {
  readonly id: string;
  readonly title: string;
  /** Played once for each; default both. One that is of no family is played once, as IPv4. */
  readonly families?: readonly (4 | 6)[];
  /** Tries what is forbidden and says what came of it. */
  readonly attack: (scene: Scene) => Promise<readonly Attempt[]>;
  /** What must not reach the internet side while it is tried. */
  readonly forbidden?: (scene: Scene) => Forbidden;
  /** Does what is allowed, from the same machine, in the same run. @throws Error when that does not work */
  readonly control: (scene: Scene) => Promise<void>;
  /** The records that must be there, each of the attacker's own address. */
  readonly records?: (scene: Scene) => readonly WantedRecord[] | Promise<readonly WantedRecord[]>;
}

export interface Attempt {
  readonly what: string;
  /** What the attacker got by it; null: nothing. */
  readonly gained: string | null;
  readonly ms: number;
  /** Why nothing is got by it before an open gateway either; without it, it must be. */
  readonly cannotGain?: string;
}

/** Each of them arrives where the gateway is open. */
export interface Forbidden {
  readonly packets?: readonly PacketFilter[];
  /** Names, `*.` for all below one. */
  readonly queries?: readonly string[];
}

/** What a record must say; what is not mentioned may be anything, but the client is the attacker. */
export interface WantedRecord {
  readonly reason: string;
  readonly [key: string]: unknown;
}

/** What a probe of the lab says; all its results have these. */
interface Probed {
  readonly outcome: string;
  readonly ms: number;
}

/** Returns an attempt as a probe ended: a connection, data or an answer is a gain; a refusal of our proxy (403) is none. */
export function tried(what: string, result: Probed): Attempt {
  return { what, gained: gainOf(result), ms: result.ms };
}

function gainOf(result: Probed): string | null {
  const { outcome, status, data, kbps, rcode, answers, addresses } = result as Probed & { [key: string]: unknown };
  if (outcome === "connected" && typeof status === "number") return status === 200 ? `HTTP ${status}` : null;
  if (outcome === "connected") return typeof kbps === "number" ? `${Math.round(kbps)} kbit/s` : "connected";
  if (outcome === "answered") return "answered over UDP";
  if (outcome === "closed" || outcome === "reset") return gainOfBytes(data);
  if (outcome !== "answer" || rcode !== "NOERROR" || !Array.isArray(answers) || answers.length === 0) return null;
  return `an answer: ${Array.isArray(addresses) ? addresses.join(" ") : ""}`;
}

/** Bytes from beyond: whatever came, but a refusal of our own proxy. */
function gainOfBytes(data: unknown): string | null {
  if (typeof data !== "string" || data === "") return null;
  return /^HTTP\/1\.[01] (?:400|403) /.test(data) && !data.includes("HTTP/1.1 200") ? null : `${data.length} bytes`;
}

/** Returns an attempt of something that no probe does. */
export function gainedIf(what: string, gained: boolean | string | null, ms = 0): Attempt {
  return { what, gained: gained === true ? what : gained === false ? null : gained, ms };
}

/** Returns an attempt that gets nothing before an open gateway either, with the reason why it is made all the same. */
export function inVain(cannotGain: string, attempt: Attempt): Attempt {
  return { ...attempt, cannotGain };
}

/** Runs attempts one after the other. */
export async function each<Item>(
  items: readonly Item[],
  attempt: (item: Item) => Promise<Attempt>,
): Promise<readonly Attempt[]> {
  const attempts: Attempt[] = [];
  for (const item of items) attempts.push(await attempt(item));
  return attempts;
}

/** Returns an attempt that also counts as a gain when a denial does not say what it should. */
export function triedName(what: string, result: DnsResult, isTold = true): Attempt {
  const attempt = tried(what, result);
  if (attempt.gained !== null || !isTold || result.outcome !== "answer") return attempt;
  const [error] = result.extendedErrors;
  const isRight = result.rcode === "NXDOMAIN" && error?.code === 15 && error.text.includes("clawgress");
  return isRight ? attempt : { ...attempt, gained: `${result.rcode} without its reason` };
}

/** @throws Error when something that is allowed did not work */
export function insist(what: string, result: Probed): void {
  const attempt = tried(what, result);
  if (attempt.gained === null) throw new Error(`${what} is allowed, but: ${JSON.stringify(result)}`);
}
