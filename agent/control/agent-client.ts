import type { TallyBatch } from "../gate/tally.ts";
import { callSocketJson, type SocketCallOptions } from "../host/socket-call.ts";
import type { GatewayStatus } from "../report/gateway-status.ts";
import type {
  AgentCalls,
  AgentMeasures,
  CycleSummary,
  EnforcedPolicy,
  KernelCounters,
  ProposalResult,
  Verdict,
} from "./agent-calls.ts";

const READ_TIMEOUT_MS = 15_000;
/** Stage, probes and a revert, on a busy machine, behind the changes of others. */
const CHANGE_TIMEOUT_MS = 300_000;
const MAX_ANSWER_BYTES = 512 * 1024 * 1024;

/** Returns the agent behind its socket. Nothing is connected until a call; each throws AgentError AGENT_UNREACHABLE, too. */
export function createAgentClient(socketPath: string): AgentCalls {
  const call = async (
    method: SocketCallOptions["method"],
    path: string,
    timeoutMs: number,
    body?: SocketCallOptions["body"],
  ): Promise<unknown> =>
    await callSocketJson(socketPath, {
      ...{ method, path, timeoutMs, maxAnswerBytes: MAX_ANSWER_BYTES, whom: "the agent" },
      ...(body === undefined ? {} : { body }),
      unreachable: "AGENT_UNREACHABLE",
    });
  return {
    status: async () => (await call("GET", "/status", READ_TIMEOUT_MS)) as GatewayStatus,
    poll: async () => (await call("POST", "/poll", CHANGE_TIMEOUT_MS)) as CycleSummary,
    check: async (text) => (await call("POST", "/check", CHANGE_TIMEOUT_MS, { text })) as Verdict,
    propose: async (proposal) => (await call("POST", "/propose", CHANGE_TIMEOUT_MS, { ...proposal })) as ProposalResult,
    endBreakGlass: async () =>
      (await call("POST", "/end-break-glass", CHANGE_TIMEOUT_MS)) as { readonly ended: boolean },
    policy: async () => (await call("GET", "/policy", READ_TIMEOUT_MS)) as EnforcedPolicy,
    counters: async () => (await call("GET", "/counters", READ_TIMEOUT_MS)) as KernelCounters,
    measures: async () => (await call("GET", "/measures", READ_TIMEOUT_MS)) as AgentMeasures,
    tally: async (source, ack) => {
      const query = ack === null ? "" : `?ack=${encodeURIComponent(ack)}`;
      return (await call("GET", `/tally/${source}${query}`, READ_TIMEOUT_MS)) as TallyBatch;
    },
  };
}
