import { BLOCK_CANARY_NAME, CANARY_NAME, type Canaries, DENIED_CANARY_NAME, DENY_ZONE } from "../compile/release.ts";
import type { Upstream } from "./upstream.ts";
import { encodeName, HEADER_BYTES, rcode, rrType } from "./wire.ts";
import { additionalSoaOwners, answeredTexts } from "./wire-answer.ts";
import type { Question } from "./wire-query.ts";

/** Whether named enforces: its allow zone is the release's, and its deny zone denies. `detail` is a sentence for people. */
export interface NamedHealth {
  readonly ok: boolean;
  readonly detail: string;
}

const allowedCanary = canaryQuestion(CANARY_NAME, rrType.TXT);
const blockCanary = canaryQuestion(BLOCK_CANARY_NAME, rrType.TXT);
const deniedCanary = canaryQuestion(DENIED_CANARY_NAME, rrType.A);

/**
 * Returns whether named enforces one of the given releases, by the canaries that answer for them. Two are given while
 * a swap is under way: then named may have the new zones before the gate has the new policy.
 */
export async function checkNamed(upstream: Upstream, releases: readonly Canaries[]): Promise<NamedHealth> {
  const [allowed, blocked, denied] = await Promise.all(
    [allowedCanary, blockCanary, deniedCanary].map((canary) => upstream.ask(canary, "udp")),
  );
  if (!allowed || !blocked || !denied) return { ok: false, detail: "named does not answer" };
  const owners = additionalSoaOwners(denied, questionEnd(deniedCanary)) ?? [];
  if ((denied.readUInt16BE(2) & 0xf) !== rcode.NXDOMAIN || !owners.includes(DENY_ZONE)) {
    return { ok: false, detail: `named does not deny ${DENIED_CANARY_NAME} by the zone ${DENY_ZONE}` };
  }
  for (const [zone, message, question, expected] of [
    ["allow", allowed, allowedCanary, releases.map(({ canary }) => canary)],
    ["block", blocked, blockCanary, releases.map(({ blockCanary: text }) => text)],
  ] as const) {
    const texts = answeredTexts(message, questionEnd(question)) ?? [];
    const isExpected = texts.length === 1 && texts.some((text) => expected.includes(text));
    if (!isExpected) return { ok: false, detail: `named serves the ${zone} zone of another release` };
  }
  return { ok: true, detail: "named allows and denies by the release in force" };
}

function canaryQuestion(name: string, type: number): Question {
  return { nameBytes: encodeName(name), type, dnssecOk: false, checkingDisabled: false };
}

function questionEnd(question: Question): number {
  return HEADER_BYTES + question.nameBytes.length + 4;
}
