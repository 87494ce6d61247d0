import type { Agent } from "../agent.ts";
import { openConfirmed } from "../apply/enforced.ts";
import { gateReleaseOf } from "../apply/gate-releases.ts";
import { createTrafficReader } from "../apply/traffic-counters.ts";
import { AgentError, type Json } from "../errors.ts";
import type { GateControl } from "../gate/control-client.ts";
import type { Tally, TallyBatch, TallyRow } from "../gate/tally.ts";
import type { CallBody } from "../host/read-call-body.ts";
import { type SocketServer, serveSocket } from "../host/socket-server.ts";
import type { UserIds } from "../host/users.ts";
import { readGatewayStatus } from "../report/read-gateway-status.ts";
import { probeClients } from "../settings/settings.ts";
import type { AgentCalls, EnforcedPolicy, Proposal } from "./agent-calls.ts";
import { endBreakGlass } from "./break-glass.ts";
import { type Cycles, summarizeCycle } from "./cycles.ts";
import { findHosts } from "./find-hosts.ts";
import { judgeProposal } from "./judge-proposal.ts";
import { createProposals } from "./propose-policy.ts";
import { readMeasures } from "./read-measures.ts";

/** A policy of 100,000 entries as JSON text in JSON. */
const MAX_BODY_BYTES = 96 * 1024 * 1024;

/**
 * Serves what the agent does for others on its socket, for root and the API's user; returns when it listens. The API's
 * process is no more trusted than whoever shows it a key: what it asks for is judged here. @throws AgentError HOST_FILE
 */
export async function serveAgent(
  agent: Agent,
  cycles: Cycles,
  proxyTally: Pick<Tally, "take">,
  apiUser: UserIds,
): Promise<SocketServer> {
  const calls = createCalls(agent, cycles, proxyTally);
  return await serveSocket(agent.paths.agentSocket, {
    ...{ uid: apiUser.uid, gid: apiUser.gid, maxBodyBytes: MAX_BODY_BYTES },
    answer: async (call, query, body) => {
      switch (call) {
        case "GET /status":
          return await calls.status();
        case "GET /policy":
          return await calls.policy();
        case "GET /counters":
          return await calls.counters();
        case "GET /measures":
          return await calls.measures();
        case "GET /tally/gate":
        case "GET /tally/proxy":
          return await calls.tally(call === "GET /tally/gate" ? "gate" : "proxy", query.get("ack"));
        case "POST /poll":
          return await calls.poll();
        case "POST /check":
          return await calls.check(textOf(body, "text"));
        case "POST /propose":
          return await calls.propose(proposalOf(body));
        case "POST /end-break-glass":
          return await calls.endBreakGlass();
        default:
          throw new AgentError("USAGE", `there is no call ${call.slice(0, 100)}`);
      }
    },
  });
}

function createCalls(agent: Agent, cycles: Cycles, proxyTally: Pick<Tally, "take">): AgentCalls {
  const { apply, settings } = agent;
  const traffic = createTrafficReader(apply.gate, probeClients(settings.health));
  const propose = createProposals(agent, cycles);
  return {
    status: () => readGatewayStatus(settings),
    poll: async () => summarizeCycle(await cycles.run()),
    check: (text) => cycles.between(() => judgeProposal(agent, Buffer.from(text))),
    propose,
    endBreakGlass: async () => ({ ended: await cycles.between(() => endBreakGlass(agent, true)) }),
    policy: () => readEnforcedPolicy(agent),
    counters: () => traffic.read(),
    measures: () => readMeasures(agent),
    tally: async (source, ack) =>
      source === "gate" ? await apply.gate.tally(ack) : await nameHosts(apply.gate, proxyTally.take(ack)),
  };
}

/** The proxy knows addresses; the gate knows whose they are. */
async function nameHosts(gate: Pick<GateControl, "describeGrants">, batch: TallyBatch): Promise<TallyBatch> {
  const clients = new Set(batch.rows.flatMap(([, , [, , , client]]) => (typeof client === "string" ? [client] : [])));
  if (clients.size === 0) return batch;
  const hosts = await findHosts(gate, [...clients]);
  const rows = batch.rows.map(([atS, count, values, bytesUp, bytesDown]): TallyRow => {
    const [plane = null, verdict = null, reason = null, client = null, , ...rest] = values;
    const host = hosts.get(String(client)) ?? null;
    return [atS, count, [plane, verdict, reason, client, host, ...rest], bytesUp, bytesDown];
  });
  return { ...batch, rows };
}

async function readEnforcedPolicy({ apply, settings }: Agent): Promise<EnforcedPolicy> {
  const { confirmed, breakGlass } = await readGatewayStatus(settings);
  const { policy } = await gateReleaseOf(apply, await openConfirmed(apply));
  return {
    commit: breakGlass === null ? confirmed.commit : null,
    serial: confirmed.serial,
    release: breakGlass?.release ?? confirmed.release,
    approvedBy: breakGlass === null ? confirmed.approvedBy : [],
    since: breakGlass?.since ?? confirmed.at,
    policy: policy as unknown as Json,
  };
}

function textOf(body: CallBody, key: string): string {
  const value = body[key];
  if (typeof value === "string") return value;
  throw new AgentError("USAGE", `the body needs the text ${key}`);
}

function proposalOf(body: CallBody): Proposal {
  const forS = (body["breakGlass"] as { readonly forS?: unknown } | null | undefined)?.forS;
  return {
    text: textOf(body, "text"),
    by: textOf(body, "by"),
    reason: textOf(body, "reason"),
    breakGlass: typeof forS === "number" ? { forS } : null,
  };
}
