import type { Case, Policy } from "./side.ts";
import { under } from "./side.ts";
import { tryAddress } from "./tries.ts";

const [ONE, TWO, NOBODYS] = ["203.0.113.10", "203.0.113.11", "203.0.113.40"] as const;

const host = (source: string, ip: string) => ({
  sources: [`${source}/32`],
  allow: { domains: [], ips: [`${ip}/32`], ports: [443] },
});
const withHosts = (hosts: { readonly [name: string]: object }): Policy => ({
  version: 1,
  allow: { domains: ["a.allowed.test"], ips: [], ports: [443] },
  hosts,
});

const ruleInName = 'agent" accept\n    accept\n#';
const longName = "h".repeat(64);

const badName = (title: string, name: string): Case => ({
  title,
  needs: ["hosts"],
  attempts: [{ what: "an address that nobody allowed", ours: /^refused when read: hosts\/…; closed at once$/ }],
  play: async (side) => {
    const refusal = await side.enforce(withHosts({ [name]: host("10.80.0.10", ONE) }));
    return [under(refusal, await tryAddress(side, NOBODYS, 443))];
  },
});

/** What the name of a host may do. */
export const hostCases: readonly Case[] = [
  badName("a host name with a line break and a rule in it", ruleInName),
  badName("a host name of 64 characters, in the first policy", longName),
  {
    title: "hosts `a-b` and `a_b` with an address each",
    needs: ["hosts"],
    attempts: [
      { what: "`a_b` to its own", ours: /^reached$/ },
      { what: "`a_b` to that of `a-b`", ours: /^closed at once$/ },
    ],
    play: async (side) => {
      const hosts = { "a-b": host("10.80.0.10", ONE), a_b: host("10.80.0.11", TWO) };
      const refusal = await side.enforce(withHosts(hosts));
      return [
        under(refusal, await tryAddress(side, TWO, 443, "agent2")),
        under(refusal, await tryAddress(side, ONE, 443, "agent2")),
      ];
    },
  },
];
