import { monotonicMs, sleepMs } from "../../agent/host/clock.ts";
import { runChecked } from "../../agent/host/run.ts";
import { addresses, clientNodes, gatewayOf, type LabNode, nodes, serviceAddresses } from "./addresses.ts";

export interface NetworkOptions {
  readonly namespaceOf: (node: LabNode) => string;
  /** Marks every process of the lab, see `watcher.mjs`. */
  readonly env: { readonly [name: string]: string };
  /** True gives the internet side routes to the client networks, so that unmasked packets are answered too. */
  readonly routeClients: boolean;
}

/** No duplicate address detection (it costs 1-2 s), no router advertisements, nothing inherited from the host. */
const sysctls: readonly string[] = [
  "net.ipv4.ip_forward=0",
  "net.ipv4.conf.all.rp_filter=0",
  "net.ipv4.conf.default.rp_filter=0",
  "net.ipv6.conf.all.disable_ipv6=0",
  "net.ipv6.conf.default.disable_ipv6=0",
  "net.ipv6.conf.all.forwarding=0",
  "net.ipv6.conf.default.accept_dad=0",
  "net.ipv6.conf.default.accept_ra=0",
  "net.ipv6.conf.default.router_solicitations=0",
];

/**
 * Makes the namespaces, links, addresses and routes of one lab; the gateway does not forward yet.
 * Interfaces are created inside their namespaces and never appear in the caller's.
 * @throws AgentError HOST_COMMAND
 */
export async function raiseNetwork(options: NetworkOptions): Promise<void> {
  const { namespaceOf, env } = options;
  const batch = async (lines: readonly string[], namespace?: string): Promise<void> => {
    const argv: [string, ...string[]] = ["ip", ...(namespace === undefined ? [] : ["-n", namespace]), "-batch", "-"];
    await runChecked(argv, { timeoutMs: 20_000, stdin: `${lines.join("\n")}\n`, env });
  };
  await batch(nodes.map((node) => `netns add ${namespaceOf(node)}`));
  await Promise.all(
    nodes.map((node) =>
      runChecked(["nsenter", `--net=/run/netns/${namespaceOf(node)}`, "--", "sysctl", "-q", "-w", ...sysctls], {
        timeoutMs: 20_000,
        env,
      }),
    ),
  );
  await batch(linkLines(namespaceOf));
  // Far ends first: a bridge port whose carrier comes later waits up to a second for the kernel's link watcher.
  const far = nodes.flatMap((node) => (node === "gateway" ? [] : [node]));
  await Promise.all(far.map((node) => batch(addressLines(node, options.routeClients), namespaceOf(node))));
  await batch(gatewayLines(), namespaceOf("gateway"));
}

/** Resolves when every port of the gateway's bridge forwards frames. @throws Error after 5 s */
export async function waitForBridge(gatewayNamespace: string, env: NetworkOptions["env"]): Promise<void> {
  const deadlineMs = monotonicMs() + 5_000;
  for (;;) {
    const argv = ["nsenter", `--net=/run/netns/${gatewayNamespace}`, "--", "bridge", "link"] as const;
    const lines = (await runChecked(argv, { timeoutMs: 5_000, env })).trim().split("\n");
    if (lines.length === clientNodes.length - 1 && lines.every((line) => line.includes("state forwarding"))) return;
    if (monotonicMs() > deadlineMs)
      throw new Error(`the bridge of ${gatewayNamespace} does not forward: ${lines.join("; ")}`);
    await sleepMs(10);
  }
}

function linkLines(namespaceOf: (node: LabNode) => string): readonly string[] {
  const gateway = namespaceOf("gateway");
  const toGateway = (node: LabNode, near: string, far: string): string =>
    `link add name ${near} netns ${namespaceOf(node)} type veth peer name ${far} netns ${gateway}`;
  return [
    toGateway("agent1", "eth0", "port-agent1"),
    toGateway("agent2", "eth0", "port-agent2"),
    toGateway("stray", "eth0", "port-stray"),
    toGateway("guest", "eth0", "lan1"),
    toGateway("mgmt", "eth0", "mgmt0"),
    toGateway("internet", "wan0", "wan0"),
  ];
}

function addressLines(node: Exclude<LabNode, "gateway">, routeClients: boolean): readonly string[] {
  if (node === "internet") return internetLines(routeClients);
  if (node === "mgmt") return hostLines(addresses.admin, addresses.management);
  return hostLines(addresses[node], gatewayOf(node));
}

function assign(device: string, pair: { readonly v4: string; readonly v6: string }): readonly string[] {
  return [`addr add ${pair.v4}/24 dev ${device}`, `addr add ${pair.v6}/64 dev ${device} nodad`];
}

function hostLines(own: { v4: string; v6: string }, gateway: { v4: string; v6: string }): readonly string[] {
  return [
    "link set lo up",
    "link set eth0 up",
    ...assign("eth0", own),
    `route add default via ${gateway.v4}`,
    `route add ::/0 via ${gateway.v6}`,
  ];
}

const bridged = clientNodes.filter((node) => node !== "guest");

function gatewayLines(): readonly string[] {
  return [
    "link set lo up",
    ...bridged.map((node) => `link set port-${node} up`),
    "link add name lan0 type bridge forward_delay 0 mcast_snooping 0",
    ...["lan0", "lan1", "mgmt0", "wan0"].map((device) => `link set ${device} up`),
    ...bridged.map((node) => `link set port-${node} master lan0`),
    ...assign("lan0", addresses.lan),
    ...assign("lan1", addresses.guestLan),
    ...assign("mgmt0", addresses.management),
    ...assign("wan0", addresses.wan),
    `route add default via ${addresses.internet.v4}`,
    `route add ::/0 via ${addresses.internet.v6}`,
  ];
}

function internetLines(routeClients: boolean): readonly string[] {
  const clientNetworks = [
    ...["10.80.0.0/24", "10.81.0.0/24"].map((network) => `route add ${network} via ${addresses.wan.v4}`),
    ...["fd80::/64", "fd81::/64"].map((network) => `route add ${network} via ${addresses.wan.v6}`),
  ];
  return [
    "link set lo up",
    "link set wan0 up",
    ...assign("wan0", addresses.internet),
    ...serviceAddresses.flatMap((pair) => [`addr add ${pair.v4}/32 dev lo`, `addr add ${pair.v6}/128 dev lo nodad`]),
    // Whole ranges are local, so that TCP services answer on addresses nobody has listed.
    "route add local 203.0.113.0/24 dev lo",
    "route add local 2001:db8:1::/64 dev lo",
    // Where the names of `race.test` lead, and IPv6 addresses that only wrap an IPv4 one (6to4, Teredo, NAT64).
    "route add local 198.18.0.0/16 dev lo",
    ...["2002::/16", "2001::/32", "64:ff9b::/96"].map((network) => `route add local ${network} dev lo`),
    ...(routeClients ? clientNetworks : []),
  ];
}
