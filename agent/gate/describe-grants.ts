import { networkGrants, networkGrantText } from "../compile/grants.ts";
import { AUDIT_GRANT } from "../compile/marks.ts";
import { parseAddress } from "../policy/cidr.ts";
import type { Decision } from "../policy/decide.ts";
import type { NameRule, NetworkRule, PortRange } from "../policy/policy.ts";
import { portText } from "../policy/ports.ts";
import type { ActivePolicy } from "./active-policy.ts";
import type { ClientGrant, GrantText } from "./control-client.ts";
import { placeText } from "./decision-tally.ts";
import type { GrantTable } from "./grant-table.ts";

/** Asks only whose address it is. */
export const NO_GRANT = 0;

interface NetworkGrant {
  readonly rule: NetworkRule;
  readonly range: PortRange;
}

/** Grants of networks of the policy that was asked for last: they change with it only. */
let lastNetworks: { readonly digest: string; readonly byMark: ReadonlyMap<number, NetworkGrant> } | null = null;

/** Returns what grants open to their clients by a policy; null for one that neither the policy nor the table knows. */
export function describeGrants(
  policy: ActivePolicy,
  grants: Pick<GrantTable, "byMark">,
  pairs: readonly ClientGrant[],
): readonly (GrantText | null)[] {
  const networks = networksOf(policy);
  return pairs.map(([address, mark]) => {
    if (parseAddress(address) === null) return null;
    const client = policy.clientOf(address);
    const host = client.host?.name ?? null;
    // What an audit lets pass is no rule's.
    if (mark === NO_GRANT || mark === AUDIT_GRANT)
      return { host, name: null, network: null, ports: null, label: null, rule: null };
    const byName = grants.byMark.get(mark);
    if (byName !== undefined) {
      const decision = policy.decider.decideName(client, byName.name);
      const { rule, label } = ruleOf(decision);
      return {
        ...{ host, name: byName.name, network: null, ports: portText(byName.range), label },
        rule: rule === null ? null : placeText(policy.placeOf(rule)),
      };
    }
    const network = networks.get(mark);
    if (network === undefined) return null;
    // The same network may stand in several groups: the client's own entry is meant.
    const own = client.group.networks.find((rule) => rule.network === network.rule.network) ?? network.rule;
    return {
      ...{ host, name: null, network: own.network, ports: portText(network.range), label: own.label },
      rule: placeText(own.place),
    };
  });
}

/** The rule that opens a name, or did until its hours ended or it expired: its traffic was let through. */
function ruleOf(decision: Decision): { readonly rule: NameRule | NetworkRule | null; readonly label: string | null } {
  if (decision.verdict === "allow") return decision;
  const { reason, nearRule } = decision;
  if (nearRule === null || (reason !== "outside-window" && reason !== "expired")) return { rule: null, label: null };
  return "ports" in nearRule ? { rule: nearRule, label: nearRule.label } : { rule: null, label: null };
}

function networksOf({ digest, release }: ActivePolicy): ReadonlyMap<number, NetworkGrant> {
  if (lastNetworks?.digest === digest) return lastNetworks.byMark;
  const marks = networkGrants(release.policy);
  const byMark = new Map<number, NetworkGrant>();
  for (const group of release.policy.groups) {
    for (const rule of group.networks) {
      for (const range of rule.ports) {
        const mark = marks.get(networkGrantText(rule.network, range));
        if (mark !== undefined) byMark.set(mark, { rule, range });
      }
    }
  }
  lastNetworks = { digest, byMark };
  return byMark;
}
