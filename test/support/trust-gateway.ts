import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "pino";
import type { Agent } from "../../agent/agent.ts";
import type { Cycle } from "../../agent/cycle.ts";
import { AgentError } from "../../agent/errors.ts";
import { initialisePointers, readPointers, writeConfirmed } from "../../agent/host/pointer-store.ts";
import { readRevokedFile } from "../../agent/host/revoked-file.ts";
import type { TrustSettings } from "../../agent/settings/settings.ts";
import type { CommitReader } from "../../agent/source/source.ts";
import { guardTrust, type TrustVerdict } from "../../agent/steps/guard-trust.ts";
import { raiseVerified } from "../../agent/steps/raise-verified.ts";
import { followRoots } from "../../agent/steps/root-steps.ts";
import { approveContent, rememberVerified } from "../../agent/steps/trust-steps.ts";
import { judgedTime, nextPassed } from "../../agent/trust/clock.ts";
import type { Pointers } from "../../agent/trust/pointers.ts";
import { openRoot } from "../../agent/trust/root-chain.ts";

/** The trust of a gateway without the rest of it: it judges commits and remembers what it verified, on a real disk. */
export interface TrustGateway {
  readonly folder: string;
  /** Offers a commit as the head of the branch; returns `approved`, or the code of the refusal with its text. */
  readonly offer: (commit: CommitReader) => Promise<Offered>;
  /** The same, and what was approved is in force from then on. */
  readonly enforce: (commit: CommitReader) => Promise<Offered>;
  readonly pointers: () => Promise<Pointers>;
  /** Looks at what is enforced, without any commit. */
  readonly look: () => Promise<TrustVerdict>;
  /** Brings the pointers up to what the disk has approvals of, as a start does. */
  readonly raise: () => Promise<void>;
  /** Ends the process and starts it again; the clock of the machine may be another one by then. */
  readonly restart: (wall?: string) => void;
  readonly setClock: (wall: string) => void;
  /** Lets time go by. */
  readonly pass: (ms: number) => void;
  readonly log: readonly { readonly event: string; readonly [key: string]: unknown }[];
}

export interface Offered {
  readonly code: string;
  readonly text: string;
  readonly approvedBy: readonly string[];
}

export interface GatewayOptions {
  readonly folder: string;
  /** Bytes of the root that it is installed with. */
  readonly root: Buffer;
  readonly trust?: Partial<TrustSettings>;
  readonly group?: string;
  readonly branch?: string;
  readonly name?: string;
  /** True goes on with the state that is in the folder. */
  readonly keepState?: boolean;
}

/** Returns a gateway with an empty state in a folder, at 2026-11-26. */
export async function makeTrustGateway(options: GatewayOptions): Promise<TrustGateway> {
  const { folder, name = "egress", branch = "main", group = "default" } = options;
  const paths = {
    pointers: join(folder, "pointers"),
    trust: join(folder, "trust"),
    releases: join(folder, "releases"),
  };
  if (options.keepState !== true) await initialisePointers(paths.pointers, { gateway: "gw", repository: "egress" });
  const log: { event: string }[] = [];
  const note = (line: { event: string }): void => void log.push(line);
  const time = {
    wallMs: Date.parse("2026-11-26T00:00:00Z"),
    elapsedMs: 0,
    passedMs: Date.parse("2026-11-26T00:00:00Z"),
  };
  const installed = openRoot(options.root, "root.json");
  if (!("root" in installed)) throw new Error(installed.issues.join("\n"));
  const trust: TrustSettings = {
    ...{ mode: "manifest", root: "", insecure: false, revokedFile: null, maxAgeS: null, graceS: 86_400 },
    ...{ whenExpired: "keep", whenRevoked: "keep", keepLabels: [] },
    ...options.trust,
  };
  const agent = {
    settings: { trust, repository: { name, branch, group, policyPath: "policy.json" } },
    ...{ paths, installed, reporter: null },
    log: { info: note, warn: note, error: note, debug: note } as unknown as Logger,
    memory: { settledCommit: null, trust: null, last: null },
    clock: { read: () => ({ ...time }), save: async () => {} },
    judgedMs: () => judgedTime(time),
    readRevoked: () => readRevokedFile(trust.revokedFile),
  } as unknown as Agent;

  const offer = async (commit: CommitReader): Promise<Offered> => {
    let cycle: Cycle = { signal: AbortSignal.timeout(60_000), commit: commit.commit, reader: commit };
    try {
      for (const step of [followRoots, approveContent, rememberVerified]) {
        cycle = { ...cycle, ...(await step(agent, cycle)) };
      }
      return { code: "approved", text: "", approvedBy: cycle.approval?.approvedBy ?? [] };
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      return { code: error.code, text: `${error.message} → ${error.remedy}`, approvedBy: [] };
    }
  };
  const enforce = async (commit: CommitReader): Promise<Offered> => {
    const offered = await offer(commit);
    if (offered.code !== "approved") return offered;
    const { verified } = await readPointers(paths.pointers);
    const release = createHash("sha256").update(commit.commit).digest("hex");
    const parts = Object.values(verified.parts).map(({ lockDigest }) => lockDigest);
    mkdirSync(join(paths.releases, release), { recursive: true });
    const provenance = { commit: commit.commit, serial: verified.serial, locks: [verified.lockDigest, ...parts] };
    writeFileSync(join(paths.releases, release, "provenance.json"), JSON.stringify(provenance));
    const { serial, at } = verified;
    await writeConfirmed(paths.pointers, { release, serial, commit: commit.commit, at, whole: null });
    return offered;
  };
  return {
    ...{ folder, offer, enforce, log },
    pointers: async () => {
      const { verified, confirmed } = await readPointers(paths.pointers);
      return { verified, confirmed };
    },
    look: async () => {
      await guardTrust(agent, AbortSignal.timeout(60_000));
      if (agent.memory.trust === null) throw new Error(`no verdict: ${JSON.stringify(log.at(-1))}`);
      return agent.memory.trust;
    },
    raise: () => raiseVerified(agent),
    restart: (wall) => {
      time.passedMs = nextPassed(time);
      time.elapsedMs = 0;
      if (wall !== undefined) time.wallMs = Date.parse(wall);
      agent.memory.trust = null;
    },
    setClock: (wall) => {
      time.wallMs = Date.parse(wall);
    },
    pass: (ms) => {
      time.wallMs += ms;
      time.elapsedMs += ms;
    },
  };
}
