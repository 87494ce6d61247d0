import {
  ALLOW_ZONE,
  BLOCK_CANARY_NAME,
  BLOCK_ZONE,
  CANARY_NAME,
  type Canaries,
  DENIED_CANARY_NAME,
  DENY_ZONE,
} from "../compile/release.ts";
import { SHARDS, shardCanaryName, shardZone } from "../compile/shards.ts";
import type { Upstream } from "./upstream.ts";
import { encodeName, HEADER_BYTES, rcode, rrType } from "./wire.ts";
import { additionalSoaOwners, answeredTexts } from "./wire-answer.ts";
import type { Question } from "./wire-query.ts";

/** Whether named enforces: its allow zone is the release's, and its deny zone denies. `detail` is a sentence for people. */
export interface NamedHealth {
  readonly ok: boolean;
  readonly detail: string;
}

const deniedCanary = canaryQuestion(DENIED_CANARY_NAME, rrType.A);

/** A zone of names and what it answers for a release; null: the release does not have the zone. */
interface ZoneProof {
  readonly zone: string;
  readonly question: Question;
  readonly textOf: (release: Canaries) => string | null;
}

const proofs: readonly ZoneProof[] = [
  { zone: ALLOW_ZONE, question: canaryQuestion(CANARY_NAME, rrType.TXT), textOf: ({ canary }) => canary },
  {
    zone: BLOCK_ZONE,
    question: canaryQuestion(BLOCK_CANARY_NAME, rrType.TXT),
    textOf: (release) => release.blockCanary,
  },
  ...SHARDS.map((shard) => ({
    zone: shardZone(shard),
    question: canaryQuestion(shardCanaryName(shard), rrType.TXT),
    textOf: ({ shardCanaries }: Canaries) => shardCanaries?.[shard] ?? null,
  })),
];

/**
 * Returns whether named enforces one of the given releases, by the canaries that answer for them. Two are given while
 * a swap is under way: then named may have the new zones before the gate has the new policy. `only`: of the zones of names,
 * those that are asked; all of them unless it is given.
 */
export async function checkNamed(
  upstream: Upstream,
  releases: readonly Canaries[],
  only: readonly string[] | null = null,
): Promise<NamedHealth> {
  const asked = only === null ? proofs : proofs.filter(({ zone }) => only.includes(zone));
  const [denied, zones] = await Promise.all([upstream.ask(deniedCanary, "udp"), askZones(upstream, releases, asked)]);
  if (denied === null || zones.some(({ state }) => state === "silent")) {
    return { ok: false, detail: "named does not answer" };
  }
  const owners = additionalSoaOwners(denied, questionEnd(deniedCanary)) ?? [];
  if ((denied.readUInt16BE(2) & 0xf) !== rcode.NXDOMAIN || !owners.includes(DENY_ZONE)) {
    return { ok: false, detail: `named does not deny ${DENIED_CANARY_NAME} by the zone ${DENY_ZONE}` };
  }
  const stale = zones.find(({ state }) => state === "stale");
  if (stale === undefined) return { ok: true, detail: "named allows and denies by the release in force" };
  const which = stale.zone.slice(0, stale.zone.indexOf("."));
  return { ok: false, detail: `named serves the ${which} zone of another release` };
}

/** Returns the zones of names that named does not have as the release has them; null when it does not answer. */
export async function findStaleZones(upstream: Upstream, release: Canaries): Promise<readonly string[] | null> {
  const zones = await askZones(upstream, [release], proofs);
  if (zones.some(({ state }) => state === "silent")) return null;
  return zones.filter(({ state }) => state === "stale").map(({ zone }) => zone);
}

async function askZones(
  upstream: Upstream,
  releases: readonly Canaries[],
  zones: readonly ZoneProof[],
): Promise<readonly { readonly zone: string; readonly state: "right" | "stale" | "silent" }[]> {
  const asked = zones.flatMap(({ zone, question, textOf }) => {
    const expected = releases.map(textOf);
    // A zone that one of two releases does not have proves nothing about the other.
    return expected.some((text) => text === null) ? [] : [{ zone, question, expected }];
  });
  return await Promise.all(
    asked.map(async ({ zone, question, expected }) => {
      const message = await upstream.ask(question, "udp");
      if (message === null) return { zone, state: "silent" as const };
      const texts = answeredTexts(message, questionEnd(question)) ?? [];
      const isRight = texts.length === 1 && texts.some((text) => expected.includes(text));
      return { zone, state: isRight ? ("right" as const) : ("stale" as const) };
    }),
  );
}

function canaryQuestion(name: string, type: number): Question {
  return { nameBytes: encodeName(name), type, dnssecOk: false, checkingDisabled: false };
}

function questionEnd(question: Question): number {
  return HEADER_BYTES + question.nameBytes.length + 4;
}
