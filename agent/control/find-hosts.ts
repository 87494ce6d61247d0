import type { GateControl } from "../gate/control-client.ts";
import { NO_GRANT } from "../gate/describe-grants.ts";

/** Returns client → its host entry, null for none: the gate knows whose addresses are. @throws AgentError GATE_UNREACHABLE */
export async function findHosts(
  gate: Pick<GateControl, "describeGrants">,
  clients: readonly string[],
): Promise<ReadonlyMap<string, string | null>> {
  const hosts = new Map<string, string | null>();
  for (let at = 0; at < clients.length; at += MAX_PAIRS) {
    const asked = clients.slice(at, at + MAX_PAIRS);
    const texts = await gate.describeGrants(asked.map((client) => [client, NO_GRANT]));
    for (const [index, client] of asked.entries()) hosts.set(client, texts[index]?.host ?? null);
  }
  return hosts;
}

/** One call to the gate. */
const MAX_PAIRS = 5_000;
