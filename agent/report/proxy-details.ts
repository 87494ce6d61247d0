import { embeddedAddress } from "../gate/addresses.ts";
import { commonDetails, type DenialDetails, type DenyAction, type Nearest } from "../gate/deny-record.ts";
import { parseAddress } from "../policy/cidr.ts";
import type { Client, Decider } from "../policy/decide.ts";
import { HTTP_PORT, TLS_PORT } from "../policy/proxied.ts";
import type { ProxyLine } from "./proxy-line.ts";

/**
 * Returns what a record says of a decision of the proxy: rule, label and near miss come from the decider of the policy
 * that it was judged by; without one, they are missing.
 */
export function describeProxyLine(line: ProxyLine, decider: Decider | null): DenialDetails {
  const { plane, client: source, group, name, address, commit, serial, proxy } = line;
  const client = decider === null || parseAddress(source) === null ? null : decider.clientOf(source);
  const near = decider === null || client === null ? null : findNearest(line, decider, client);
  const provenance = { commit: commit ?? "", serial: serial ?? 0 };
  return {
    ...commonDetails(actionOf(line), client, near, commit === null ? null : { provenance }),
    ...{ group, name, destination: address, port: portOf(plane), protocol: "tcp", serial, proxy },
  };
}

function portOf(plane: ProxyLine["plane"]): number {
  return plane === "tls" ? TLS_PORT.first : HTTP_PORT.first;
}

function actionOf({ plane, reason }: ProxyLine): DenyAction {
  if (reason === "allowed") return "pass";
  return plane === "tls" ? "close" : "http-status";
}

function findNearest(line: ProxyLine, decider: Decider, client: Client): Nearest | null {
  const { name: written, address, plane, reason } = line;
  const name = written?.toLowerCase().replace(/:80$/, "").replace(/\.$/, "");
  if (name === undefined) return null;
  const decision = decider.decideNameFlow(client, name, "tcp", portOf(plane));
  if (decision.verdict === "deny") return decision;
  if (reason === "denied-explicit" && address !== null) {
    const inner = embeddedAddress(address);
    const denial =
      decider.deniesAddress(client, address) ?? (inner === null ? null : decider.deniesAddress(client, inner));
    return { nearMiss: `${name} resolves to ${address}, an address that the policy denies`, nearRule: denial };
  }
  const text = `${name} resolves to ${address}, a private or reserved address that the policy does not open`;
  return { nearMiss: reason === "private-answer" ? text : null, nearRule: decision.rule };
}
