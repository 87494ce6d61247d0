import { join } from "node:path";
import { readGateRelease } from "../apply/release-store.ts";
import type { Provenance } from "../compile/release.ts";
import { nowMs } from "../host/clock.ts";
import { readFileBytes, readFileIfAny } from "../host/files.ts";
import { buildDecider, type Decider } from "../policy/decide.ts";

/** The policy that the proxy goes by. */
export interface JudgedBy {
  readonly commit: string;
  readonly serial: number;
  readonly decider: Decider;
}

/** Says by which policy the proxy's lines were judged. */
export interface ProxyJudge {
  /** Returns the decider of a commit's policy, or null when the proxy goes by another one by now. Never rejects. */
  deciderOf(commit: string): Promise<Decider | null>;
  /** Returns what the proxy goes by now, or null when nobody can say. Never rejects. */
  current(): Promise<JudgedBy | null>;
  /** Lets go of a policy that no line has asked for since the last call: a large one takes 100 MB. Call about once a minute. */
  rest(): void;
}

const MAX_PROVENANCE_BYTES = 1024 * 1024;
const MAX_ABOUT_BYTES = 64 * 1024;

/** Returns the judge over the folder of releases and the file in which the proxy is told which one it goes by. */
export function createProxyJudge(releases: string, aboutFile: string): ProxyJudge {
  let known: { readonly commit: string; readonly decider: Decider } | null = null;
  /** A commit that the proxy did not go by when its file said this. */
  let missed: { readonly commit: string; readonly about: string } | null = null;
  let isAsked = false;
  const readAbout = async (): Promise<string> =>
    (await readFileIfAny(aboutFile, MAX_ABOUT_BYTES).catch(() => null))?.toString("utf8") ?? "";
  const deciderOf = async (commit: string): Promise<Decider | null> => {
    isAsked = true;
    if (known?.commit === commit) return known.decider;
    const about = await readAbout();
    // Around a change lines of two commits come mixed: neither is looked for again and again.
    if (missed?.commit === commit && missed.about === about) return null;
    const decider = await loadDecider(releases, about, commit).catch(() => null);
    if (decider === null) missed = { commit, about };
    else known = { commit, decider };
    return decider;
  };
  return {
    deciderOf,
    current: async () => {
      const about = await readAbout();
      const [commit, serial] = ["commit", "serial"].map((key) => new RegExp(`^${key} (\\S+)$`, "m").exec(about)?.[1]);
      const decider = commit === undefined ? null : await deciderOf(commit);
      return decider === null || commit === undefined ? null : { commit, serial: Number(serial), decider };
    },
    rest: () => {
      if (!isAsked) known = null;
      isAsked = false;
    },
  };
}

async function loadDecider(releases: string, about: string, commit: string): Promise<Decider | null> {
  const digest = /^release ([0-9a-f]{64})$/m.exec(about)?.[1];
  if (digest === undefined) return null;
  const folder = join(releases, digest);
  const bytes = await readFileBytes(join(folder, "provenance.json"), MAX_PROVENANCE_BYTES);
  const provenance = JSON.parse(bytes.toString("utf8")) as Provenance;
  if (provenance.commit !== commit) return null;
  return buildDecider((await readGateRelease({ folder })).policy, () => nowMs() / 1000);
}
