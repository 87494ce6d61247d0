import { userInfo } from "node:os";
import type { AgentCalls, ProposalResult } from "../control/agent-calls.ts";
import { createAgentClient } from "../control/agent-client.ts";
import { AgentError, codes, type Json } from "../errors.ts";
import { readFileBytes } from "../host/files.ts";
import { pathsOf } from "../settings/paths.ts";
import { MAX_POLICY_BYTES } from "../source/read-policy-files.ts";
import { loadEnforcedPolicy, readPolicyFile } from "./load-policy.ts";
import { loadSettings } from "./load-settings.ts";
import { describeError, type Output } from "./output.ts";
import { withAgent } from "./with-agent.ts";

export interface ImportOptions {
  readonly config: string;
  readonly path: string;
  readonly reason?: string;
  readonly breakGlass?: boolean;
  readonly for?: string;
  readonly dryRun?: boolean;
}

/** Shows the policy that is enforced, or what a file means, with every default filled in. Returns 0. @throws AgentError POLICY_*, STATE_CORRUPT */
export async function showPolicy(
  options: { readonly config: string; readonly path?: string },
  output: Output,
): Promise<number> {
  const { path } = options;
  const policy = path === undefined ? await loadEnforcedPolicy(options.config) : await readPolicyFile(path);
  output.line(JSON.stringify(policy, null, 2));
  output.document(policy as unknown as Json);
  return 0;
}

/**
 * Commits a policy file to the gateway's own repository and makes it true; with a remote repository it says how to change
 * it there, or breaks the glass. Returns 0 when it is in force, else the status of what kept it from that.
 * @throws AgentError PROPOSAL_*, POLICY_*, USAGE, AGENT_UNREACHABLE
 */
export async function importPolicy(options: ImportOptions, output: Output): Promise<number> {
  const text = (await readFileBytes(options.path, MAX_POLICY_BYTES)).toString("utf8");
  const breakGlass = breakGlassOf(options);
  const settings = await loadSettings(options.config);
  // Its end must come though this program is gone.
  const agent = breakGlass === null ? await withAgent(settings, options.config) : runningAgent(settings);
  try {
    if (options.dryRun === true) return tellVerdict(await agent.check(text), output);
    const reason = options.reason ?? "";
    return tellResult(await agent.propose({ text, by: callerName(), reason, breakGlass }), output);
  } finally {
    await agent.close();
  }
}

/** Does a cycle now, or imports a file. Returns 0 when the head of the branch is what is enforced, else the code's status. */
export async function applyPolicy(
  options: { readonly config: string; readonly path?: string },
  output: Output,
): Promise<number> {
  const { path } = options;
  if (path !== undefined) return await importPolicy({ config: options.config, path }, output);
  const agent = await withAgent(await loadSettings(options.config), options.config);
  try {
    const { outcome, commit, serial, error } = await agent.poll();
    const isEnforced = outcome === "confirmed" || outcome === "unchanged";
    output.line(isEnforced ? `${outcome}: ${commit}` : `${outcome}: ${commit ?? "no commit"}`);
    if (error !== null) output.line(describeError(new AgentError(error.code, error.message, remedyOf(error.remedy))));
    output.document({ ok: isEnforced, outcome, commit, serial, error: error === null ? null : { ...error } });
    return error === null ? 0 : codes[error.code].exit;
  } finally {
    await agent.close();
  }
}

/** Ends a broken glass now: what was approved comes back. Returns 0. @throws AgentError USAGE when there is none */
export async function endBreakGlass(options: { readonly config: string }, output: Output): Promise<number> {
  const { ended } = await runningAgent(await loadSettings(options.config)).endBreakGlass();
  if (!ended) throw new AgentError("USAGE", "no glass is broken: what is enforced is what was approved");
  output.line("what was approved is in force again");
  output.document({ ended });
  return 0;
}

type ClosableAgent = AgentCalls & { close(): Promise<void> };

function runningAgent(settings: Parameters<typeof pathsOf>[0]): ClosableAgent {
  return { ...createAgentClient(pathsOf(settings).agentSocket), close: async () => {} };
}

const durations: { readonly [unit: string]: number } = { s: 1, m: 60, h: 3600 };

function breakGlassOf(options: ImportOptions): { readonly forS: number } | null {
  if (options.breakGlass !== true) {
    if (options.for !== undefined) throw new AgentError("USAGE", "--for goes with --break-glass");
    return null;
  }
  const [, amount, unit] = /^([1-9][0-9]{0,5})([smh])$/.exec(options.for ?? "") ?? [];
  const seconds = durations[unit ?? ""];
  if (amount === undefined || seconds === undefined) {
    throw new AgentError("USAGE", "--break-glass needs an end", { remedy: "add --for 30m (s, m or h; at most 24h)" });
  }
  if ((options.reason ?? "").trim() === "") {
    throw new AgentError("USAGE", "--break-glass needs a reason", {
      remedy: "add --reason WHY: everybody will read it",
    });
  }
  return { forS: Number(amount) * seconds };
}

/** Who sat down at this machine, behind sudo too. */
function callerName(): string {
  return process.env["SUDO_USER"] ?? userInfo().username;
}

function tellResult(result: ProposalResult, output: Output): number {
  const { applied, outcome, commit, serial, changes, error } = result;
  for (const line of changes) output.line(line);
  if (applied) output.line(commit === null ? "in force" : `in force: serial ${serial}, commit ${commit}`);
  else output.line(`not in force (${outcome})${commit === null ? "" : `; it is commit ${commit}, serial ${serial}`}`);
  if (error !== null) output.line(describeError(new AgentError(error.code, error.message, remedyOf(error.remedy))));
  output.document({ ok: applied, ...result, changes: [...changes], error: error === null ? null : { ...error } });
  if (applied) return 0;
  return codes[error?.code ?? "APPLY_FAILED"].exit;
}

function tellVerdict(verdict: Awaited<ReturnType<AgentCalls["check"]>>, output: Output): number {
  for (const { name, ok, details } of verdict.checks) {
    output.line(`${ok ? "✔" : "✘"} ${name}`);
    for (const detail of details) output.line(`    ${detail}`);
  }
  for (const line of verdict.changes) output.line(line);
  output.document(verdict as unknown as Json);
  const failed = verdict.checks.find(({ ok }) => !ok);
  return failed === undefined ? 0 : codes[failed.code ?? "POLICY_INVALID"].exit;
}

function remedyOf(remedy: string | null): { readonly remedy?: string } {
  return remedy === null ? {} : { remedy };
}
