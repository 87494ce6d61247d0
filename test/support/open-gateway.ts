import type { Lab } from "../lab/lab.ts";

const ruleset = ({ v4, v6 }: Lab["addresses"]["dns"]): string => `table inet open {
  chain pre {
    type nat hook prerouting priority dstnat;
    iifname { "lan0", "lan1" } meta nfproto ipv4 meta l4proto { tcp, udp } th dport 53 fib daddr type local dnat ip to ${v4}
    iifname { "lan0", "lan1" } meta nfproto ipv6 meta l4proto { tcp, udp } th dport 53 fib daddr type local dnat ip6 to ${v6}
  }
  chain post {
    type nat hook postrouting priority srcnat;
    oifname "wan0" masquerade
  }
}
`;

/** Makes a lab's gateway what it is without any policy: it forwards, masks its clients and hands their DNS to the internet side. */
export async function openGateway(lab: Lab): Promise<void> {
  await lab.execChecked("gateway", ["nft", "-f", "-"], { stdin: ruleset(lab.addresses.dns) });
  await lab.execChecked("gateway", ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
}
