/** Returns the policy that stands before the packets, with more names for everyone. */
export const packetPolicy = (...names: readonly string[]) => ({
  version: 1,
  allow: {
    domains: [
      "a.allowed.test",
      "rotate.allowed.test",
      "*.race.test",
      "health.allowed.test",
      "one.shared.test",
      ...names,
    ],
    ips: ["203.0.113.60/31", "2001:db8:1::3c/127"],
    ports: [80, 443, 7000, "7001/udp", "7009/udp"],
  },
  hosts: {
    privileged: {
      sources: ["10.80.0.11/32", "fd80::11/128", "10.80.0.12/32", "fd80::12/128"],
      allow: { domains: ["www.allowed.test"], ips: ["203.0.113.62/32", "2001:db8:1::3e/128"], ports: [443] },
    },
  },
});
