import { addressKind, embeddedAddress } from "../gate/addresses.ts";
import { holdsAddress } from "../policy/cidr.ts";
import type { Allowed, Decider } from "../policy/decide.ts";

/**
 * Returns whether an allowed name may lead through the proxy to an address: as the proxy's maps say it, for connections
 * that are under way. Private networks are reached by the `answers` of the name or its zone alone; what else opens them
 * to the client by address opens nothing here.
 */
export function mayLead(decider: Decider, decision: Allowed, address: string): boolean {
  const kind = addressKind(address);
  if (kind === "never") return false;
  for (const meant of [address, embeddedAddress(address)]) {
    if (meant !== null && decider.deniesAddress(decision.client, meant) !== null) return false;
  }
  return kind === "public" || decision.answers.some((network) => holdsAddress(network, address));
}
