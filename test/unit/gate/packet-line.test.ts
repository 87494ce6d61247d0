import { describe, expect, test } from "vitest";
import { parsePacketLine } from "../../../agent/gate/packet-line.ts";

/** As ulogd 2.0.8 writes it, without the fields that nobody reads. */
const line = (change: object = {}): string =>
  JSON.stringify({
    "oob.prefix": "clawgress:forward ",
    "oob.family": 2,
    "ip.protocol": 6,
    src_port: 55_096,
    dest_port: 443,
    "oob.in": "lan0",
    "oob.out": "wan0",
    src_ip: "10.0.0.5",
    dest_ip: "192.0.2.1",
    ...change,
  });

const packet = {
  origin: "forward",
  isOverCap: false,
  source: "10.0.0.5",
  destination: "192.0.2.1",
  sourcePort: 55_096,
  destinationPort: 443,
  protocol: "tcp",
  inInterface: "lan0",
  outInterface: "wan0",
};

describe("a line of ulogd", () => {
  test.each([
    ["TCP", {}, {}],
    ["that a byte cap has no room for", { "oob.mark": 0x636c_7175 }, { isOverCap: true }],
    ["UDP", { "ip.protocol": 17 }, { protocol: "udp" }],
    [
      "a ping",
      { "ip.protocol": 1, src_port: undefined, dest_port: undefined },
      { protocol: "icmp", sourcePort: null, destinationPort: null },
    ],
    ["GRE", { "ip.protocol": 47 }, { protocol: "47" }],
    [
      "IPv6, brought into canonical text",
      { src_ip: "FD80:0:0:0:0:0:0:5", dest_ip: "2001:db8:0:0:1:0:0:1", "ip.protocol": 58 },
      { source: "fd80::5", destination: "2001:db8::1:0:0:1", protocol: "icmpv6" },
    ],
    [
      "to the gateway itself",
      { "oob.prefix": "clawgress:input ", "oob.out": "" },
      { origin: "input", outInterface: null },
    ],
    ["without a protocol", { "ip.protocol": undefined }, { protocol: "unknown" }],
    ["with ports out of range", { src_port: 65_536, dest_port: -1 }, { sourcePort: null, destinationPort: null }],
    [
      "with an interface that is no name",
      { "oob.in": "lan0\nevil", "oob.out": 7 },
      { inInterface: null, outInterface: null },
    ],
  ])("%s", (_title, change, expected) => {
    expect(parsePacketLine(line(change))).toEqual({ ...packet, ...expected });
  });

  test.each([
    ["no JSON", "{"],
    ["no object", "null"],
    ["of another rule's log", line({ "oob.prefix": "ufw: " })],
    ["of a rule that is not there", line({ "oob.prefix": "clawgress:toString " })],
    ["without a source", line({ src_ip: undefined })],
    ["with a source that is no address", line({ src_ip: "10.0.0.5; drop" })],
    ["with a destination that is no text", line({ dest_ip: 7 })],
  ])("that is %s is passed over", (_title, text) => {
    expect(parsePacketLine(text)).toBeNull();
  });
});
