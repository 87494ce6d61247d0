import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import type { Agent } from "../../agent/agent.ts";
import { createFightWatch } from "../../agent/apply/fight.ts";
import { createCompileMemory } from "../../agent/compile/memory.ts";
import type { Cycle, StepResult } from "../../agent/cycle.ts";
import { AgentError } from "../../agent/errors.ts";
import { initialisePointers } from "../../agent/host/pointer-store.ts";
import { createPolicyMemory } from "../../agent/policy/policy-memory.ts";
import { createActivity } from "../../agent/report/agent-memory.ts";
import type { Settings } from "../../agent/settings/settings.ts";
import type { Source } from "../../agent/source/source.ts";
import { approveCommit } from "../../agent/steps/commit-steps.ts";
import { checkHistory } from "../../agent/steps/history-steps.ts";
import { followRoots } from "../../agent/steps/root-steps.ts";
import { openHead, pollHead } from "../../agent/steps/source-steps.ts";
import { approveContent, rememberVerified } from "../../agent/steps/trust-steps.ts";
import { approvalPath } from "../../agent/trust/approvals.ts";
import { digestOf, renderLock } from "../../agent/trust/lock.ts";
import type { Root } from "../../agent/trust/root.ts";
import { openRoot } from "../../agent/trust/root-chain.ts";
import { testSettings } from "./open-test-source.ts";
import { makeSigner, rootJson, type Signer } from "./trust.ts";

const steps: readonly ((agent: Agent, cycle: Cycle) => Promise<StepResult>)[] = [
  pollHead,
  openHead,
  followRoots,
  approveCommit,
  approveContent,
  checkHistory,
  rememberVerified,
];

/** A gateway as far as a commit is verified and remembered: real steps, a real source and real pointers; nothing is enforced. */
export interface TrustCycle {
  readonly alice: Signer;
  readonly root: Root;
  /** Does the steps of one cycle; returns `verified`, `unchanged`, or the code with which it ended. */
  run(): Promise<string>;
  /** The error of the last run. */
  lastError(): AgentError | null;
  /** Returns the files of an approved policy: the policy, its lock, and Alice's approval. */
  approve(serial: number, text?: string): { readonly [path: string]: string | Buffer };
  remove(): void;
}

/** Returns such a gateway over a source that the caller opens, closes and may replace. */
export async function openTrustCycle(
  source: () => Source,
  mode: Settings["trust"]["mode"] = "manifest",
): Promise<TrustCycle> {
  const folder = mkdtempSync(join(tmpdir(), "clawgress-cycle-"));
  const pointers = join(folder, "pointers");
  await initialisePointers(pointers, { gateway: "gw", repository: "test" });
  const alice = makeSigner();
  const bytes = Buffer.from(JSON.stringify({ ...rootJson({ alice: [alice.publicLine] }, 1), repository: "test" }));
  const installed = openRoot(bytes, "trust/1.json");
  if (!("root" in installed)) throw new Error(installed.issues.join("; "));
  const { root } = installed;
  const memory: Agent["memory"] = {
    ...{ settledCommit: null, trust: null, last: null, activity: createActivity(0) },
    ...{ read: createPolicyMemory(), compiled: createCompileMemory() },
    ...{ fight: createFightWatch(), mayHealOnce: false },
  };
  let failure: AgentError | null = null;
  const agent = (): Agent =>
    ({
      settings: {
        repository: testSettings("http://127.0.0.1:1/unused.git"),
        trust: { mode, root: "", insecure: false },
      },
      paths: { pointers, trust: join(folder, "trust") },
      ...{ installed, source: source(), reporter: null, memory, log: pino({ level: "silent" }) },
      ...{ judgedMs: () => Date.now(), readRevoked: async () => new Set() },
    }) as unknown as Agent;
  const run = async (): Promise<string> => {
    failure = null;
    let cycle: Cycle = { signal: new AbortController().signal, commit: null };
    try {
      for (const step of steps) {
        const result = await step(agent(), cycle);
        if ("done" in result) return result.done.kind;
        cycle = { ...cycle, ...result };
      }
      memory.settledCommit = cycle.commit;
      return "verified";
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      failure = error;
      return error.code;
    }
  };
  return {
    ...{ alice, root, run, lastError: () => failure },
    approve: (serial, text = `{"serial":${serial}}`) => {
      const target = { repository: "test", branch: "main", group: "default" };
      const lock = renderLock({ version: 1, ...target, serial, files: { "policy.json": digestOf(Buffer.from(text)) } });
      const approval = approvalPath(digestOf(lock), "alice");
      return { "policy.json": text, "clawgress.lock.json": lock, [approval]: alice.sign(lock) };
    },
    remove: () => rmSync(folder, { recursive: true }),
  };
}
