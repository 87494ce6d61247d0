import { addresses, hostileNames, type NameAddresses, names, wildcardZones } from "./addresses.ts";

/** A zone of the lab's authoritative server. */
export interface Zone {
  readonly name: string;
  readonly text: string;
  readonly signed: boolean;
}

/** Names of the zones that carry DNSSEC signatures; a resolver needs the lab's trust anchors to know. */
const signedZones: readonly string[] = ["signed-denied.test", "signed.test"];

/** The zone whose only name, `moving.test`, can be given other addresses while the lab runs. */
export const movingZone = "moving.test";

const shortTtlS: { readonly [name: string]: number } = {
  "rotate.allowed.test": 2,
  "e9.cdn2-unlisted.test": 5,
  "fresh.test": 5,
  "*.fresh.test": 5,
};
const DEFAULT_TTL_S = 30;

/** Records that are not addresses; owner names are absolute. */
const otherRecords: readonly string[] = [
  "www.chain.test. 300 IN CNAME edge.cdn-unlisted.test.",
  "edge.cdn-unlisted.test. 5 IN CNAME e9.cdn2-unlisted.test.",
  "chain.signed.test. 5 IN CNAME edge.cdn-unlisted.test.",
  "alias.allowed.test. 30 IN CNAME b.allowed.test.",
  "to-denied.allowed.test. 30 IN CNAME www.denied.test.",
  "to-nothing.allowed.test. 30 IN CNAME nothing.allowed.test.",
  "to-rebind.allowed.test. 30 IN CNAME rebind.allowed.test.",
  "loop1.allowed.test. 30 IN CNAME loop2.allowed.test.",
  "loop2.allowed.test. 30 IN CNAME loop1.allowed.test.",
  "tree.allowed.test. 30 IN DNAME wild.test.",
  "mail.allowed.test. 30 IN MX 10 b.allowed.test.",
  'text.allowed.test. 30 IN TXT "plain text" "second string"',
  `big-text.allowed.test. 30 IN TXT ${Array.from({ length: 16 }, () => `"${"x".repeat(200)}"`).join(" ")}`,
  "_http._tcp.allowed.test. 30 IN SRV 10 5 80 www.allowed.test.",
  'allowed.test. 30 IN CAA 0 issue "ca.lab.test"',
  `www.allowed.test. 30 IN HTTPS 1 . alpn=h2 ipv4hint=${addresses.git.v4} ipv6hint=${addresses.git.v6} ech=AEX+DQBBpQ==`,
  "_8080._https.api.allowed.test. 30 IN SVCB 1 api.allowed.test. port=8080",
];

/** How many names `r0.race.test`, `r1.race.test`, … there are, each with addresses that no other name has. */
export const RACE_NAMES = 1_000;

const raceRecords: readonly string[] = Array.from({ length: RACE_NAMES }, (_, n) => [
  `r${n}.race.test. 30 IN A 198.18.${n >> 8}.${n & 255}`,
  `r${n}.race.test. 30 IN AAAA 2001:db8:1::1:${n.toString(16)}`,
]).flat();

/** Apexes; the longest one that ends a name is the zone of the name. The root answers all else with NXDOMAIN. */
const apexes: readonly string[] = [
  "lab.test",
  "allowed.test",
  "wild.test",
  "chain.test",
  "cdn-unlisted.test",
  "cdn2-unlisted.test",
  "shared.test",
  "denied.test",
  "signed-denied.test",
  "signed.test",
  "fresh.test",
  "race.test",
  movingZone,
  "openai.com",
  "anthropic.com",
];

/** Returns every zone of the lab, the root first. */
export function buildZones(): readonly Zone[] {
  const lines = new Map<string, string[]>(apexes.map((apex) => [apex, []]));
  const put = (owner: string, line: string): void => {
    lines.get(apexOf(owner))?.push(line);
  };
  for (const [name, of] of [...Object.entries<NameAddresses>(names), ...Object.entries(hostileNames)]) {
    for (const line of addressRecords(name, of)) put(name, line);
  }
  for (const zone of wildcardZones) for (const line of addressRecords(`*.${zone}`, names[zone])) put(zone, line);
  for (const record of [...otherRecords, ...raceRecords]) put((record.split(". ")[0] ?? "").toLowerCase(), record);
  // The root's own name server lies outside the other zones: the root delegates nothing, so that it denies all else itself.
  const rootServer = addressRecords("ns.root", { v4: [addresses.dns.v4], v6: [addresses.dns.v6] });
  const root: Zone = { name: ".", signed: false, text: zoneText(".", 1, rootServer, "ns.root") };
  return [
    root,
    ...apexes.map((apex) => ({
      name: apex,
      signed: signedZones.includes(apex),
      text: zoneText(apex, 1, lines.get(apex) ?? []),
    })),
  ];
}

/** Returns the text of the moving zone with other addresses and the given serial; its TTL is 2 s. */
export function buildMovingZone(serial: number, of: NameAddresses): string {
  return zoneText(movingZone, serial, [
    ...addressRecords(movingZone, of, 2),
    ...addressRecords(`*.${movingZone}`, of, 2),
  ]);
}

function apexOf(name: string): string {
  const found = apexes.find((apex) => name === apex || name.endsWith(`.${apex}`));
  if (found === undefined) throw new Error(`no zone of the lab holds ${name}`);
  return found;
}

function addressRecords(name: string, of: NameAddresses, ttlS = shortTtlS[name] ?? DEFAULT_TTL_S): readonly string[] {
  return [
    ...of.v4.map((address) => `${name}. ${ttlS} IN A ${address}`),
    ...of.v6.map((address) => `${name}. ${ttlS} IN AAAA ${address}`),
  ];
}

function zoneText(apex: string, serial: number, records: readonly string[], server = "ns.lab.test"): string {
  const owner = apex === "." ? "." : `${apex}.`;
  const head = [
    `${owner} 30 IN SOA ${server}. hostmaster.lab.test. ${serial} 3600 600 86400 5`,
    `${owner} 30 IN NS ${server}.`,
    ...(apex === "lab.test" ? addressRecords("ns.lab.test", { v4: [addresses.dns.v4], v6: [addresses.dns.v6] }) : []),
  ];
  return `${[...head, ...records].join("\n")}\n`;
}
