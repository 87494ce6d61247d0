import { ports } from "../lab/addresses.ts";
import type { Lab } from "../lab/lab.ts";

/**
 * What the attacker runs on the internet side, so that every way round a gateway ends somewhere: a resolver and echo servers
 * on ports that the lab has none on, and a machine with other protocols on 443 and 80.
 */

/** The number of that machine's address: on 443 the first that comes is sent back, and 80 speaks TLS. */
export const ODD_MACHINE = 49;
/** Of a machine whose port 80 is a relay: HTTP CONNECT to anywhere. */
export const RELAY_MACHINE = 48;
const RELAY_PORT = 3_128;
const ONCE_PORT = 3_129;
/** TCP ports on which anything is sent back, whatever the address. */
const echoPorts = [22, 137, 853, 5300, 5353, 5355, 8053] as const;
/** Numbers of addresses that answer DNS. */
const RESOLVERS = [10, 40] as const;

const rules = ({ v4, v6 }: Lab["addresses"]["dns"]): string => `table inet attacker {
  chain pre {
    type nat hook prerouting priority dstnat;
    tcp dport { ${echoPorts.join(", ")} } redirect to :${ports.tcpEcho}
    ip daddr { ${RESOLVERS.map((n) => `203.0.113.${n}`).join(", ")} } meta l4proto { tcp, udp } th dport 53 dnat ip to ${v4}
    ip6 daddr { ${RESOLVERS.map((n) => `2001:db8:1::${n.toString(16)}`).join(", ")} } meta l4proto { tcp, udp } th dport 53 dnat ip6 to ${v6}
    ip daddr 203.0.113.${ODD_MACHINE} tcp dport 443 redirect to :${ONCE_PORT}
    ip6 daddr 2001:db8:1::${ODD_MACHINE.toString(16)} tcp dport 443 redirect to :${ONCE_PORT}
    ip daddr 203.0.113.${ODD_MACHINE} tcp dport 80 redirect to :443
    ip6 daddr 2001:db8:1::${ODD_MACHINE.toString(16)} tcp dport 80 redirect to :443
    ip daddr 203.0.113.${RELAY_MACHINE} tcp dport 80 redirect to :${RELAY_PORT}
    ip6 daddr 2001:db8:1::${RELAY_MACHINE.toString(16)} tcp dport 80 redirect to :${RELAY_PORT}
  }
}
`;

/** Sends back the first that it gets, and closes. Its argument is the port. */
const onceProgram = `require("node:net").createServer((socket) => {
  socket.on("error", () => {}).once("data", (data) => socket.end(data));
}).listen({ port: +process.argv[1], host: "::" })`;

/** A relay: HTTP CONNECT to anywhere. Its argument is the port. */
export const relayProgram = `const { createServer } = require("node:http"); const { connect } = require("node:net");
createServer((_, answer) => answer.end("relay\\n")).on("connect", (request, socket, head) => {
  const [, host, port] = /^\\[?([^\\]]*)\\]?:(\\d+)$/.exec(request.url);
  const far = connect({ host, port: +port }, () => {
    socket.write("HTTP/1.1 200 OK\\r\\n\\r\\n"); far.write(head); far.pipe(socket).pipe(far);
  });
  for (const one of [far, socket]) one.on("error", () => { far.destroy(); socket.destroy(); });
}).listen({ port: +process.argv[1], host: "::" })`;

/** Puts the attacker's servers on the internet side of a lab. */
export async function raiseFarSide(lab: Lab): Promise<void> {
  await lab.execChecked("internet", ["nft", "-f", "-"], { stdin: rules(lab.addresses.dns) });
  lab.spawn("internet", [process.execPath, "-e", relayProgram, String(RELAY_PORT)]);
  lab.spawn("internet", [process.execPath, "-e", onceProgram, String(ONCE_PORT)]);
}
