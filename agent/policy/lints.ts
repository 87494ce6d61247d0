import type { Family } from "./cidr.ts";
import type { IssueLog } from "./issue-log.ts";
import { suffixesOf } from "./name-table.ts";
import type { Cidr, NamePattern, Place, PortRange } from "./policy.ts";
import { portText } from "./ports.ts";

/** Zones under which anyone can have a name: a wildcard over one of them allows strangers. */
const rentableZones: readonly string[] = [
  "amazonaws.com",
  "appspot.com",
  "azureedge.net",
  "azurewebsites.net",
  "blob.core.windows.net",
  "cloudapp.net",
  "cloudfront.net",
  "duckdns.org",
  "fastly.net",
  "firebaseapp.com",
  "fly.dev",
  "github.io",
  "gitlab.io",
  "herokuapp.com",
  "myshopify.com",
  "netlify.app",
  "ngrok.io",
  "onrender.com",
  "pages.dev",
  "r2.dev",
  "run.app",
  "trycloudflare.com",
  "vercel.app",
  "web.app",
  "workers.dev",
];

/** Names that serve storage or sites of anyone on the same addresses, told apart only by path or server name. */
const sharedNames: readonly string[] = ["s3.amazonaws.com", "storage.googleapis.com", "raw.githubusercontent.com"];

/** Public resolvers that answer DNS over HTTPS: a client that reaches one can resolve what the gate denies. */
const resolverNames: readonly string[] = [
  "chrome.cloudflare-dns.com",
  "cloudflare-dns.com",
  "dns.adguard-dns.com",
  "dns.google",
  "dns.nextdns.io",
  "dns.quad9.net",
  "doh.opendns.com",
  "mozilla.cloudflare-dns.com",
  "one.one.one.one",
];

const rentable = new Set(rentableZones);
const aboveRentable = new Set(rentableZones.flatMap((zone) => [zone, ...suffixesOf(zone)]));
const shared = new Set(sharedNames);
const resolvers = new Set(resolverNames);
const aboveResolvers = new Set(resolverNames.flatMap((name) => [...suffixesOf(name)]));

/** Warns of names that open more than they seem to. */
export function lintName(pattern: NamePattern, place: Place, log: IssueLog): void {
  const { kind, name } = pattern;
  const isWildcard = kind === "subdomains";
  if (isWildcard && (aboveRentable.has(name) || isBelow(name, rentable))) {
    log.warn(place, `anyone can register a name below ${name}`, "list the names that are needed");
  } else if (shared.has(name)) {
    log.warn(place, `${name} serves everyone's files`, "use a name of your own in front of it, if there is one");
  } else if (!isWildcard && (rentable.has(name) || isBelow(name, rentable))) {
    const message = `${name} shares its addresses with other sites, and an allowed name opens its addresses`;
    log.warn(place, message, "allow it only if reaching those other sites does no harm");
  }
  if (resolvers.has(name) || (isWildcard && aboveResolvers.has(name))) {
    log.warn(place, `${name} answers DNS over HTTPS, with which clients resolve around the gateway`, "remove it");
  }
}

/** Networks that are large but lead to nobody's internet: RFC 1918, RFC 6598, RFC 4193. */
const privateNetwork = /^(?:10\.|100\.64\.0\.0\/10|172\.16\.0\.0\/12|f[cd][0-9a-f]{2}:)/;

/** Warns of networks that open a large part of the internet: IPv4 wider than /16, IPv6 wider than /32. */
export function lintNetwork(network: Cidr, family: Family, hostBits: number, place: Place, log: IssueLog): void {
  if (network.endsWith("/0")) {
    const message = `${network} opens every address but loopback, link-local, multicast and metadata services`;
    log.warn(place, message, "list the networks that are needed");
  } else if (hostBits > (family === 4 ? 16 : 96) && !privateNetwork.test(network)) {
    log.warn(place, `${network} is a large part of the address space`, "list the networks that are needed");
  }
}

/** Warns of ports whose use defeats the policy. */
export function lintPort(range: PortRange, place: Place, log: IssueLog): void {
  if (range.first <= 853 && range.last >= 853 && range.last - range.first < 1000) {
    log.warn(place, `${portText(range)} opens DNS over TLS or QUIC, which no gate sees`, "remove it");
  }
}

function isBelow(name: string, zones: ReadonlySet<string>): boolean {
  for (const suffix of suffixesOf(name)) if (zones.has(suffix)) return true;
  return false;
}
