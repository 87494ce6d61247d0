/** What a policy can take away from a flow: its name's entry, its client's, only its ports, or its name under a wildcard. */
export const grants = ["entry", "client", "ports", "name"] as const;
export type Grant = (typeof grants)[number];

/** The name that agent1 reaches by each grant alone. */
export const nameOf = {
  entry: "b.allowed.test",
  client: "api.allowed.test",
  ports: "www.allowed.test",
  name: "r1.race.test",
} as const satisfies { readonly [grant in Grant]: string };

const agent2 = ["10.80.0.11/32", "fd80::11/128"];
const agent1 = ["10.80.0.10/32", "fd80::10/128"];
const nobody = ["10.80.0.77/32", "fd80::77/128"];

/**
 * Returns a policy without one of the grants. There are two ways to lose a client (its address moves to nobody, or the host
 * goes) and a name under a wildcard (it is denied, or the wildcard goes); `way` says which.
 */
export function revocationPolicy(taken: Grant | null, way: 0 | 1 = 0) {
  const without = (grant: Grant, of: 0 | 1): boolean => taken === grant && way === of;
  const own = { domains: [nameOf.client], ports: [443, 7100, "7100/udp"], inherit: true };
  return {
    version: 1,
    allow: {
      domains: [
        "a.allowed.test",
        "r2.race.test",
        ...(taken === "entry" ? [] : [nameOf.entry]),
        ...(without("name", 1) ? [] : ["*.race.test"]),
      ],
      groups: ["many-ports"],
      ports: [443, 7100, "7100/udp"],
    },
    groups: {
      "many-ports": {
        domains: [nameOf.ports],
        ports: [7101, "7101/udp", ...(taken === "ports" ? [] : [443, 7100, "7100/udp"])],
      },
    },
    ...(without("name", 0) ? { deny: { domains: [nameOf.name] } } : {}),
    hosts: {
      ...(without("client", 1) ? {} : { moved: { sources: taken === "client" ? nobody : agent1, allow: own } }),
      other: { sources: agent2, allow: { domains: [nameOf.entry, nameOf.client], ports: own.ports } },
    },
    proxy: { mode: "sni-allowlist" },
  };
}
