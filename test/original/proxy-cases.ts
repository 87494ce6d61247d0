import type { Case } from "./side.ts";
import { under } from "./side.ts";
import { tryCap, tryName, tryPage, tryTls } from "./tries.ts";
import { closedHours } from "./verdict.ts";

const [OWN, WILD, OTHER] = ["203.0.113.10", "203.0.113.42", "203.0.113.40"] as const;
/** A proxy that was just started finds its servers first. */
const PATIENCE_MS = 10_000;
const CAP_BYTES = 100_000;

const sniMode = (domains: readonly string[]) => ({
  version: 1,
  allow: { domains, ports: [53, 80, 443] },
  proxy: { mode: "sni-allowlist", backend: "haproxy" },
});

/** What SNI mode means. */
export const proxyCases: readonly Case[] = [
  {
    title: "SNI mode, two names",
    needs: ["proxy"],
    attempts: [
      { what: "HTTPS to a listed name", ours: /^reached$/ },
      { what: "a listed name, said to another address", ours: /^reaches the name's own address$/ },
      { what: "an unlisted name", ours: /^closed at once$/ },
      { what: "no name", ours: /^closed at once$/ },
      { what: "a subdomain of a listed name: the question", ours: /^NXDOMAIN, none left$/ },
      { what: "the same, said in TLS", ours: /^closed at once$/ },
    ],
    play: async (side) => {
      const refusal = await side.enforce(sniMode(["a.allowed.test", "wild.test"]));
      return [
        await tryPage(side, "a.allowed.test", OWN, PATIENCE_MS),
        await tryTls(side, OTHER, "a.allowed.test", OWN),
        await tryTls(side, OTHER, "www.denied.test"),
        await tryTls(side, OTHER, ""),
        await tryName(side, "x.wild.test"),
        await tryTls(side, WILD, "x.wild.test"),
      ].map((verdict) => under(refusal, verdict));
    },
  },
  {
    title: "SNI mode, `domain_time_windows` that is closed now",
    needs: ["proxy", "domain_time_windows"],
    attempts: [
      { what: "HTTPS to a name without hours", ours: /^reached$/ },
      { what: "HTTPS to the name", ours: /^NXDOMAIN, none left$/ },
      { what: "the name, said in TLS to its address", ours: /^closed at once$/ },
    ],
    play: async (side) => {
      const domain_time_windows = { "a.allowed.test": closedHours(new Date()) };
      const refusal = await side.enforce({ ...sniMode(["a.allowed.test", "b.allowed.test"]), domain_time_windows });
      return [
        await tryPage(side, "b.allowed.test", "203.0.113.11", PATIENCE_MS),
        await tryPage(side, "a.allowed.test", OWN),
        await tryTls(side, OWN, "a.allowed.test"),
      ].map((verdict) => under(refusal, verdict));
    },
  },
  {
    title: `SNI mode, \`exfil\` of ${CAP_BYTES / 1000} kB a day`,
    needs: ["hosts", "proxy", "exfil"],
    attempts: [
      { what: "HTTPS to the name", ours: /^reached$/ },
      { what: "an upload to it, 1.5 s at 20 Mbit/s", ours: /^stops below 100,000 bytes$/ },
      { what: "HTTPS to it after that", ours: /^closed at once$/ },
    ],
    play: async (side) => {
      const exfil = { domains: { "a.allowed.test": { bytes: CAP_BYTES, period: "day" } } };
      const allow = { domains: ["a.allowed.test"], ports: [443] };
      const hosts = { "agent-1": { sources: ["10.80.0.10/32"], allow, exfil } };
      const refusal = await side.enforce({ ...sniMode(["a.allowed.test"]), hosts });
      return [
        await tryPage(side, "a.allowed.test", OWN, PATIENCE_MS),
        await tryCap(side, "a.allowed.test", OWN, CAP_BYTES),
        await tryPage(side, "a.allowed.test", OWN),
      ].map((verdict) => under(refusal, verdict));
    },
  },
];
