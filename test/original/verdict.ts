import type { DnsResult } from "../lab/client.ts";

/** A refusal that takes longer is a wait to whoever is refused. */
const AT_ONCE_MS = 1_000;

/** Says how a connection ended, and what of it reached the far side although it was not made. */
export function wordEnding(
  { outcome, ms, rcode }: { readonly outcome: string; readonly ms: number; readonly rcode?: string },
  packetsLeft: number,
): string {
  if (outcome === "connected") return packetsLeft > 0 ? "reached" : "taken by the gateway, nothing left";
  const left = packetsLeft === 0 ? "" : `, ${count(packetsLeft, "packet")} left`;
  if (outcome === "unresolved") return `${rcode === "NXDOMAIN" ? rcode : "no answer to the name"}${left}`;
  if (outcome === "timeout") return `times out${left}`;
  return `${ms < AT_ONCE_MS ? "closed at once" : `closed after ${Math.round(ms / 1000)} s`}${left}`;
}

/** Says what became of a question, and how many of its kind reached the internet's name server when it was denied. */
export function wordAnswer(result: DnsResult, questionsLeft: number): string {
  const left = questionsLeft === 0 ? "none left" : `${count(questionsLeft, "question")} left`;
  if (result.outcome !== "answer") return `no answer, ${left}`;
  if (result.answers.length > 0) return `answered${result.addresses.map((address) => ` ${address}`).join("")}`;
  return `${result.rcode === "NOERROR" ? "no data" : result.rcode}, ${left}`;
}

/** Says what dig brought of a zone. */
export function wordTransfer(output: string): string {
  const records = output.split("\n").filter((line) => /^\S+\s+\d+\s+IN\s/.test(line)).length;
  return records === 0 || output.includes("Transfer failed") ? "refused" : `all of it, ${count(records, "record")}`;
}

/** Tells whether a rate keeps to a limit: within 15 % of it. */
export function isWithin(kbps: number, limitKbps: number): boolean {
  return Math.abs(kbps - limitKbps) <= 0.15 * limitKbps;
}

/** Says what arrived of a flow that has a limit. */
export function wordRate(kbps: number, limitKbps: number): string {
  const figure = grouped(Math.round(kbps));
  if (isWithin(kbps, limitKbps)) return `${figure} kbit/s, within 15 %`;
  return `${figure} kbit/s, ${grouped(Math.round(kbps / limitKbps))} times the limit`;
}

/** Says how much of what a cap allows arrived. */
export function wordCap(bytes: number, capBytes: number): string {
  if (bytes === 0) return "nothing arrives";
  if (bytes <= capBytes) return `stops below ${grouped(capBytes)} bytes`;
  return `${grouped(bytes)} bytes arrive, ${grouped(Math.round(bytes / capBytes))} times the cap`;
}

/**
 * Returns the keys of a policy that lead to the place of a refusal, such as `allow/ports`; the policy is as
 * `JSON.stringify` writes it with two spaces. Keys that no table should show are an ellipsis.
 */
export function fieldOf(message: string, policyText: string): string {
  const place = Number(/^\S+\.json:(\d+):\d+: /.exec(message)?.[1] ?? 0);
  const keys: string[] = [];
  let indent = Number.POSITIVE_INFINITY;
  for (const line of policyText.split("\n").slice(0, place).reverse()) {
    const [, spaces = "", key] = /^( *)("(?:[^"\\]|\\.)*"): /.exec(line) ?? [];
    if (key === undefined || spaces.length >= indent) continue;
    indent = spaces.length;
    const text = JSON.parse(key) as string;
    keys.unshift(/^[\w.-]{1,40}$/.test(text) ? text : "…");
  }
  return keys.length > 0 ? keys.join("/") : (message.split("\n")[0] ?? "");
}

function count(number: number, what: string): string {
  return `${grouped(number)} ${what}${number === 1 ? "" : "s"}`;
}

function grouped(number: number): string {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

const days = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/** Hours that both programs take for always, but for a minute before midnight. */
export const wholeWeek = { days, start: "00:00", end: "23:59" };

/** Returns hours of one day of the week that is neither today nor a neighbour of it: closed now, in whatever zone. */
export function closedHours(now: Date): {
  readonly days: readonly string[];
  readonly start: string;
  readonly end: string;
} {
  return { days: [days[(now.getUTCDay() + 3) % 7] ?? ""], start: "09:00", end: "10:00" };
}
