import { FLOW_TABLE } from "../compile/haproxy-addresses.ts";
import { AgentError } from "../errors.ts";
import { monotonicMs, sleepMs } from "../host/clock.ts";
import { buildDecider } from "../policy/decide.ts";
import type { Policy } from "../policy/policy.ts";
import { HTTP_PORT, isProxiedPort, TLS_PORT } from "../policy/proxied.ts";
import type { Instant } from "../policy/schedules.ts";
import type { ApplyContext } from "./context.ts";
import { endProxyFlows, listProxyFlows, type ProxyFlow } from "./proxy-control.ts";
import { mayLead } from "./proxy-leads.ts";

const END_FLOWS_TIMEOUT_MS = 1_000;
const POLL_MS = 10;

/**
 * Ends the connections through the proxy that a policy does not allow at an instant, and those that have to begin anew to
 * be counted; the others notice nothing.
 * @throws AgentError APPLY_FAILED when one is still there after a second.
 */
export async function endForbiddenFlows(
  { paths, log }: Pick<ApplyContext, "paths" | "log">,
  policy: Policy,
  at: Instant,
  cameUnderCap: CameUnderCap = () => false,
): Promise<void> {
  // There from before its name is judged, and with its address from before that is: who is judged by old maps is found.
  const list = (): Promise<readonly ProxyFlow[]> => listProxyFlows(paths.proxySocket, FLOW_TABLE);
  let flows = await list();
  // An index of 100,000 names takes its time, and often nobody is connected.
  if (flows.length === 0) return;
  const earlier = new Set(flows.map(flowKey));
  const mustBeginAnew = (flow: ProxyFlow, group: string): boolean =>
    earlier.has(flowKey(flow)) && cameUnderCap(group, flow.name);
  const isAllowed = judgeFlows(policy, at, mustBeginAnew);
  const endMs = monotonicMs() + END_FLOWS_TIMEOUT_MS;
  for (;;) {
    const forbidden = flows.filter((flow) => !isAllowed(flow));
    if (forbidden.length === 0) return;
    if (monotonicMs() > endMs) {
      throw new AgentError("APPLY_FAILED", `${forbidden.length} connections that are not allowed any more do not end`);
    }
    await endProxyFlows(paths.proxySocket, forbidden);
    log.info({ event: "proxy-flows-ended", count: forbidden.length });
    await sleepMs(POLL_MS);
    flows = await list();
  }
}

type CameUnderCap = (group: string, name: string) => boolean;

function flowKey({ client, port, name, plane }: ProxyFlow): string {
  return `${client}|${port}|${name}|${plane}`;
}

function judgeFlows(
  policy: Policy,
  at: Instant,
  mustBeginAnew: (flow: ProxyFlow, group: string) => boolean,
): (flow: ProxyFlow) => boolean {
  const decider = buildDecider(policy, () => at);
  return (flow) => {
    const { client: source, name, plane, address } = flow;
    const client = decider.clientOf(source);
    const port = plane === "tls" ? TLS_PORT.first : HTTP_PORT.first;
    if (!isProxiedPort(client.group, "tcp", port) || mustBeginAnew(flow, client.group.name)) return false;
    const decision = decider.decideNameFlow(client, name, "tcp", port);
    if (decision.verdict === "deny") return false;
    return address === null || mayLead(decider, decision, address);
  };
}
