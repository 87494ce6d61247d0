import { DENY_LOG_GROUP } from "./nft-refuse.ts";
import { numberToken, pathToken } from "./tokens.ts";

/**
 * Returns the configuration of our own ulogd: what the kernel logs of refused packets becomes one JSON line each on the
 * gate's socket. Each packet is sent at once (`netlink_qthreshold`), and nothing is logged but why it cannot run: while
 * the gate is away there would be a line for each packet, in a file that nobody bounds (ulogd 2.0.8).
 * @throws AgentError SETTINGS_INVALID for a path that cannot be written into it.
 */
export function renderUlogdConf(options: { readonly socketPath: string }): string {
  return `[global]
logfile="stdout"
loglevel=8
stack=packets:NFLOG,base:BASE,interfaces:IFINDEX,addresses:IP2STR,gate:JSON

[packets]
group=${numberToken(DENY_LOG_GROUP, 1, 65_535)}
netlink_qthreshold=1
netlink_socket_buffer_size=1048576
netlink_socket_buffer_maxsize=1048576

[gate]
mode="unix"
file=${pathToken(options.socketPath)}
eventv1=0
timestamp=0
boolean_label=0
`;
}
