import type { ChangedEntry, ChangedLimit, PolicyChanges } from "./compare-policies.ts";

/**
 * Returns what a change opens (`+`), closes (`-`) or alters (`~`), a line each, in the order of the lists.
 * Names come from a validated policy, so every line is safe to print.
 */
export function describeChanges(changes: PolicyChanges): readonly string[] {
  const entries = (sign: string, list: readonly ChangedEntry[]): readonly string[] =>
    list.map(({ group, entry, ports }) => `${sign} ${whoOf(group)}: ${entry} on ${ports.join(", ")}`);
  const hosts = (sign: string, names: readonly string[]): readonly string[] =>
    names.map((name) => `${sign} host ${name}`);
  return [
    ...(changes.mode === null ? [] : [`~ mode is now ${changes.mode}`]),
    ...changes.proxyChanged.map(({ group, isProxied }) => {
      const how = isProxied ? "by their names, through the proxy (SNI mode)" : "by their addresses, not by their names";
      return `~ ${whoOf(group)}: TLS and HTTP flows are judged ${how}`;
    }),
    ...entries("-", changes.domainsRemoved),
    ...entries("-", changes.networksRemoved),
    ...entries("-", changes.portsRemoved),
    ...entries("+", changes.domainsAdded),
    ...entries("+", changes.networksAdded),
    ...entries("+", changes.portsAdded),
    ...changes.rulesRemoved.map((rule) => `- ${rule}`),
    ...changes.rulesAdded.map((rule) => `+ ${rule}`),
    ...hosts("-", changes.hostsRemoved),
    ...hosts("+", changes.hostsAdded),
    ...hosts("~", changes.hostsChanged).map((line) => `${line} has other addresses or follows other rules`),
    ...changes.limitsChanged.map(limitText),
  ];
}

function limitText({ host, before, after }: ChangedLimit): string {
  const who = host === "*" ? "each client in no host entry" : `host ${host}`;
  const rate = (kbps: number | null): string => (kbps === null ? "no limit" : `${kbps} kbit/s`);
  return `~ ${who} may send ${rate(after)} (before: ${rate(before)})`;
}

function whoOf(group: string): string {
  return group === "*" ? "everyone without own rules" : group;
}
