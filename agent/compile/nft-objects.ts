/** The objects of the policy table. Their types never change: an object of another type gets another name. */
export const policyObjects = `add table inet clawgress
add set inet clawgress lan { type ifname; }
add map inet clawgress client4 { type ipv4_addr : mark; }
add map inet clawgress client6 { type ipv6_addr : mark; }
add map inet clawgress group4 { type ipv4_addr : mark; flags interval; }
add map inet clawgress group6 { type ipv6_addr : mark; flags interval; }
add map inet clawgress tcp_ports { type inet_service : mark; flags interval; }
add map inet clawgress udp_ports { type inet_service : mark; flags interval; }
add map inet clawgress proxied { type mark : mark; }
add map inet clawgress net4 { type mark . ipv4_addr . mark : mark; }
add map inet clawgress net6 { type mark . ipv6_addr . mark : mark; }
add set inet clawgress audited { type mark; }
add set inet clawgress resolvers4 { type ipv4_addr; }
add set inet clawgress resolvers6 { type ipv6_addr; }
add set inet clawgress answers4 { type ipv4_addr; flags interval; }
add set inet clawgress answers6 { type ipv6_addr; flags interval; }
add set inet clawgress deny4 { type ipv4_addr; flags interval; }
add set inet clawgress deny6 { type ipv6_addr; flags interval; }
add set inet clawgress group_deny4 { type mark . ipv4_addr . mark; }
add set inet clawgress group_deny6 { type mark . ipv6_addr . mark; }
add map inet clawgress pin4 { type ipv4_addr . ipv4_addr . mark : mark; flags timeout; }
add map inet clawgress pin6 { type ipv6_addr . ipv6_addr . mark : mark; flags timeout; }
add map inet clawgress group_pin4 { type mark . ipv4_addr . mark : mark; flags timeout; }
add map inet clawgress group_pin6 { type mark . ipv6_addr . mark : mark; flags timeout; }
add set inet clawgress live { type mark . mark; flags timeout; }
add map inet clawgress name_hours { type mark . mark : mark; }
add map inet clawgress net_hours { type mark . mark : mark; }
add set inet clawgress window { typeof meta mark . meta time; flags interval,timeout; }
add set inet clawgress window_b { typeof meta mark . meta time; flags interval,timeout; }
add map inet clawgress lapse4 { type ipv4_addr . mark : mark; }
add map inet clawgress lapse6 { type ipv6_addr . mark : mark; }
add map inet clawgress group_lapse4 { type mark . ipv4_addr . mark : mark; }
add map inet clawgress group_lapse6 { type mark . ipv6_addr . mark : mark; }
add chain inet clawgress ok
add chain inet clawgress refuse
add chain inet clawgress regroup_out
add chain inet clawgress regroup_in
add chain inet clawgress audit_out
add chain inet clawgress audit_in
add chain inet clawgress unlisted_out
add chain inet clawgress unlisted_in
add chain inet clawgress admit
add chain inet clawgress readmit
add chain inet clawgress outward
add chain inet clawgress inward
add chain inet clawgress resolve { type filter hook output priority filter - 10; policy accept; }
add chain inet clawgress intercept { type filter hook prerouting priority mangle; policy accept; }
add chain inet clawgress forward { type filter hook forward priority filter; policy accept; }
`;

/** Makes a policy table that stamps nothing of whatever stands, without reading any release: then only the lifeline is open. */
export const lifelineRuleset = `add table inet clawgress
add chain inet clawgress intercept { type filter hook prerouting priority mangle; policy accept; }
flush chain inet clawgress intercept
add chain inet clawgress forward { type filter hook forward priority filter; policy accept; }
flush chain inet clawgress forward
add rule inet clawgress forward meta mark set 0x00000000
add chain inet clawgress resolve { type filter hook output priority filter - 10; policy accept; }
flush chain inet clawgress resolve
`;

/** Sets that only an apply writes, and empties before. */
export const refilledSets = [
  "audited",
  "resolvers4",
  "resolvers6",
  "answers4",
  "answers6",
  "deny4",
  "deny6",
  "group_deny4",
  "group_deny6",
] as const;

/** The same for maps. */
export const refilledMaps = ["net_hours", "lapse4", "lapse6", "group_lapse4", "group_lapse6"] as const;

/** Maps that only an apply writes, so that it may empty them: pins, `live` and `lan` are written by others. */
export const staticMaps = [
  ...(["client4", "client6", "group4", "group6", "tcp_ports", "udp_ports", "proxied", "net4", "net6"] as const),
  ...(["limit4", "limit6", "exfil_relays"] as const),
] as const;
/** Sets that only an apply writes, and never empties: an element of it counts what its host sends. */
export const staticSets = ["budgets"] as const;
export type StaticSet =
  | (typeof staticMaps)[number]
  | (typeof refilledMaps)[number]
  | (typeof staticSets)[number]
  | (typeof refilledSets)[number];
