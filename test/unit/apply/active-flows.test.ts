import { expect, test } from "vitest";
import { countActiveFlows } from "../../../agent/apply/active-flows.ts";

/** As conntrack 1.4.7 lists them. */
const list = `tcp      6 431999 ESTABLISHED src=10.80.0.10 dst=203.0.113.20 sport=51000 dport=443 src=203.0.113.20 dst=198.51.100.1 sport=443 dport=51000 [ASSURED] mark=65537 use=1
tcp      6 431990 ESTABLISHED src=10.80.0.10 dst=203.0.113.21 sport=51001 dport=443 src=203.0.113.21 dst=198.51.100.1 sport=443 dport=51001 [ASSURED] mark=65538 use=1
tcp      6 119 TIME_WAIT src=10.80.0.10 dst=203.0.113.20 sport=51002 dport=443 src=203.0.113.20 dst=198.51.100.1 sport=443 dport=51002 [ASSURED] mark=65537 use=1
tcp      6 118 SYN_SENT src=10.80.0.10 dst=203.0.113.20 sport=51003 dport=443 [UNREPLIED] src=203.0.113.20 dst=198.51.100.1 sport=443 dport=51003 mark=65537 use=1
tcp      6 431999 ESTABLISHED src=10.80.0.10 dst=10.80.0.1 sport=51004 dport=443 src=127.0.0.1 dst=10.80.0.10 sport=8443 dport=51004 [ASSURED] mark=0 use=1
udp      17 29 src=10.81.0.10 dst=203.0.113.20 sport=40000 dport=443 src=203.0.113.20 dst=198.51.100.1 sport=443 dport=40000 mark=65539 use=1
udp      17 28 src=10.81.0.10 dst=203.0.113.20 sport=40001 dport=443 [UNREPLIED] src=203.0.113.20 dst=198.51.100.1 sport=443 dport=40001 mark=65539 use=1
icmp     1 29 src=10.81.0.10 dst=203.0.113.20 type=8 code=0 id=1 src=203.0.113.20 dst=198.51.100.1 type=0 code=0 id=1 mark=1 use=1
`;
const list6 = `tcp      6 431999 ESTABLISHED src=fd80::10 dst=2001:db8::20 sport=51000 dport=443 src=2001:db8::20 dst=fd80::10 sport=443 dport=51000 [ASSURED] mark=1073741825 use=1
`;

test("flows that are established and have a grant count for who opened them", () => {
  expect(countActiveFlows((list + list6).split("\n"))).toEqual(
    new Map([
      ["10.80.0.10", 2],
      ["10.81.0.10", 1],
      ["fd80::10", 1],
    ]),
  );
});

test("what is no list is no flow", () => {
  const lines = ["conntrack v1.4.7 (conntrack-tools): 0 flow entries have been shown.", "", ""];
  expect(countActiveFlows([...lines, "tcp 6 1 ESTABLISHED src=nonsense mark=5"]).size).toBe(0);
});
