import type { Random } from "../faults/random.ts";
import { randomEnd, randomWindow } from "./random-times.ts";
import { namePatterns, networks } from "./world.ts";

/** Policies as people could write them, from a seed. Not all of them are valid: whoever asks tries the next. */

type Json = { readonly [key: string]: unknown };

const portTexts: readonly (number | string)[] = [
  ...[22, 80, 443, 7000, 8080, 9000],
  ...["443/udp", "7001/udp", "1-1024", "7000-9000", "1-65535", "400-500/udp", "1-65535/udp"],
];

/** Returns a policy of a seed, with hosts whose sources are some of the given prefixes. */
export function randomPolicy(random: Random, prefixes: readonly string[]): Json {
  const groups = Object.fromEntries(["g1", "g2"].map((name): [string, Json] => [name, randomList(random, [])]));
  const hasGroups = maybe(random, 0.5);
  const groupNames = hasGroups ? Object.keys(groups) : [];
  const free = [...prefixes];
  const hosts = Array.from({ length: random.between(0, 4) }, (_, index): [string, Json] => [
    `host-${index}`,
    randomHost(random, free, groupNames),
  ]);
  return {
    version: 1,
    ...(maybe(random, 0.1) ? { mode: "audit" } : {}),
    ...(hasGroups ? { groups } : {}),
    allow: randomList(random, groupNames),
    ...(maybe(random, 0.4) ? { deny: randomDenials(random) } : {}),
    ...(maybe(random, 0.3) ? { proxy: randomProxy(random) } : {}),
    ...randomHours(random),
    ...(maybe(random, 0.2) ? { limits: randomLimit(random) } : {}),
    ...(hosts.length > 0 ? { hosts: Object.fromEntries(hosts) } : {}),
  };
}

function randomHost(random: Random, free: string[], groupNames: readonly string[]): Json {
  const sources = Array.from({ length: random.between(1, 3) }, () => {
    const [taken = ""] = free.splice(random.between(0, free.length - 1), 1);
    return taken;
  });
  const allow = { ...randomList(random, groupNames), ...(maybe(random, 0.3) ? { inherit: true } : {}) };
  return {
    sources,
    ...(maybe(random, 0.8) ? { allow } : {}),
    ...(maybe(random, 0.3) ? { deny: randomDenials(random) } : {}),
    ...(maybe(random, 0.3) ? { mode: random.pick(["audit", "deny-all", "enforce", "enforce"]) } : {}),
    ...(maybe(random, 0.4) ? { proxy: randomProxy(random) } : {}),
    ...randomHours(random),
    ...(maybe(random, 0.2) ? { limits: randomLimit(random) } : {}),
    ...(maybe(random, 0.2) ? { exfil: { domains: randomCaps(random) } } : {}),
  };
}

function randomHours(random: Random): Json {
  const names = some(random, namePatterns, 1, 3).map((name) => [name, randomWindow(random, Date.now())]);
  return {
    ...(maybe(random, 0.15) ? { time_window: randomWindow(random, Date.now()) } : {}),
    ...(maybe(random, 0.25) ? { domain_time_windows: Object.fromEntries(names) } : {}),
  };
}

/** More than a test sends: what is bounded is amounts, and never whether a flow passes. */
function randomLimit(random: Random): Json {
  return { egress_kbps: random.pick([50_000, 1_000_000]) };
}

function randomCaps(random: Random): Json {
  const cap = { bytes: 1_000_000_000, period: random.pick(["hour", "day"]) };
  return Object.fromEntries(some(random, namePatterns, 1, 2).map((name) => [name, cap]));
}

function randomList(random: Random, groupNames: readonly string[]): Json {
  const ports = some(random, portTexts, 1, 4);
  return {
    domains: some(random, namePatterns, 0, 6).map((domain) => randomEntry(random, "domain", domain)),
    ips: some(random, networks, 0, 4).map((network) => randomEntry(random, "network", network)),
    ...(maybe(random, 0.8) ? { ports } : {}),
    ...(maybe(random, 0.2) ? { subdomains: true } : {}),
    ...(groupNames.length > 0 && maybe(random, 0.5) ? { groups: some(random, groupNames, 1, 2) } : {}),
  };
}

function randomEntry(random: Random, key: "domain" | "network", text: string): string | Json {
  if (maybe(random, 0.6)) return text;
  const ports = maybe(random, 0.8) ? { ports: some(random, portTexts, 1, 3) } : {};
  const answers = key === "domain" && maybe(random, 0.5) ? { answers: some(random, privateNetworks, 1, 3) } : {};
  const ends = maybe(random, 0.2) ? { expires: randomEnd(random, Date.now()) } : {};
  return { [key]: text, label: "some", ...ports, ...answers, ...ends };
}

const privateNetworks = ["192.168.0.0/16", "172.16.0.0/12", "fd12::/16"];

function randomDenials(random: Random): Json {
  return {
    domains: some(random, namePatterns, 0, 3),
    ips: some(
      random,
      networks.filter((network) => !network.endsWith("/0")),
      0,
      3,
    ),
    ...(maybe(random, 0.2) ? { subdomains: true } : {}),
  };
}

function randomProxy(random: Random): Json {
  if (maybe(random, 0.3)) return { mode: "disabled" };
  const domains = maybe(random, 0.4) ? { domains: some(random, namePatterns, 1, 4) } : {};
  return { mode: "sni-allowlist", ...domains };
}

function maybe(random: Random, chance: number): boolean {
  return random.next() < chance;
}

/** Different items, in a random order. */
function some<Item>(random: Random, items: readonly Item[], least: number, most: number): readonly Item[] {
  const rest = [...items];
  return Array.from({ length: Math.min(random.between(least, most), rest.length) }, () => {
    return rest.splice(random.between(0, rest.length - 1), 1)[0] as Item;
  });
}
