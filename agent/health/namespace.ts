import { run, runChecked } from "../host/run.ts";
import { type ProbeAddress, probeLink } from "../settings/settings.ts";

const TIMEOUT_MS = 10_000;
const CLIENT_INTERFACE = "client0";

/**
 * Makes the network namespace in which probes run as a client, linked to the gateway by `cgprobe`, with every reserved
 * client address. Does nothing when it already stands.
 * @throws AgentError HOST_COMMAND
 */
export async function ensureProbeNamespace(namespace: string, addresses: readonly ProbeAddress[]): Promise<void> {
  const inside = ["nsenter", `--net=/run/netns/${namespace}`] as const;
  const wanted = addresses.flatMap((address) => [address.address4, address.address6]);
  const link = await run(["ip", "-o", "link", "show", probeLink.gatewayInterface], { timeoutMs: TIMEOUT_MS });
  const present = await run([...inside, "ip", "-o", "address", "show", CLIENT_INTERFACE], { timeoutMs: TIMEOUT_MS });
  const standing = present.stdout.split(/[\s/]+/);
  if (link.exitCode === 0 && present.exitCode === 0 && wanted.every((address) => standing.includes(address))) return;

  await removeProbeNamespace(namespace);
  const { gatewayInterface, gateway4, gateway6, prefixLength4, prefixLength6 } = probeLink;
  await runChecked(["ip", "netns", "add", namespace], { timeoutMs: TIMEOUT_MS });
  const outside = [
    `link add ${gatewayInterface} type veth peer name ${CLIENT_INTERFACE} netns ${namespace}`,
    `address add ${gateway4}/${prefixLength4} dev ${gatewayInterface}`,
    `address add ${gateway6}/${prefixLength6} dev ${gatewayInterface} nodad`,
    `link set ${gatewayInterface} up`,
  ];
  const client = [
    "link set lo up",
    ...addresses.flatMap(({ address4, address6 }) => [
      `address add ${address4}/${prefixLength4} dev ${CLIENT_INTERFACE}`,
      `address add ${address6}/${prefixLength6} dev ${CLIENT_INTERFACE} nodad`,
    ]),
    `link set ${CLIENT_INTERFACE} up`,
    `route add default via ${gateway4}`,
    `route add ::/0 via ${gateway6}`,
  ];
  await runChecked(["ip", "-batch", "-"], { timeoutMs: TIMEOUT_MS, stdin: `${outside.join("\n")}\n` });
  await runChecked([...inside, "ip", "-batch", "-"], { timeoutMs: TIMEOUT_MS, stdin: `${client.join("\n")}\n` });
}

/** Removes the namespace and its link, whatever is left of them. */
export async function removeProbeNamespace(namespace: string): Promise<void> {
  await run(["ip", "link", "del", probeLink.gatewayInterface], { timeoutMs: TIMEOUT_MS });
  await run(["ip", "netns", "del", namespace], { timeoutMs: TIMEOUT_MS });
}
