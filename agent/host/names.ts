import { type LookupAddress, lookup as lookupBySystem, type RecordWithTtl } from "node:dns";
import { Resolver } from "node:dns/promises";
import type { LookupFunction } from "node:net";
import { monotonicMs } from "./clock.ts";

const MAX_CACHE_MS = 60_000;
const MAX_CACHED_NAMES = 64;
const QUERY_TIMEOUT_MS = 2_000;
const QUERY_TRIES = 2;

interface CachedAnswer {
  readonly addresses: readonly LookupAddress[];
  readonly untilMs: number;
}

/**
 * Returns a name lookup for sockets that asks the given resolvers and nothing else (no hosts file, no search list), so
 * that the gateway's own DNS policy can neither bend nor break it. Answers are kept for their TTL, at most 60 s.
 * Without resolvers it is the system's lookup.
 */
export function createLookup(servers: readonly string[], port: number): LookupFunction {
  if (servers.length === 0) return lookupBySystem as LookupFunction;
  const resolver = new Resolver({ timeout: QUERY_TIMEOUT_MS, tries: QUERY_TRIES });
  resolver.setServers(servers.map((server) => (server.includes(":") ? `[${server}]:${port}` : `${server}:${port}`)));
  const cache = new Map<string, CachedAnswer>();
  const resolve = async (name: string): Promise<readonly LookupAddress[]> => {
    const cached = cache.get(name);
    if (cached !== undefined && cached.untilMs > monotonicMs()) return cached.addresses;
    const answer = await resolveName(resolver, name);
    if (cache.size >= MAX_CACHED_NAMES) cache.clear();
    cache.set(name, answer);
    return answer.addresses;
  };
  return (name, options, callback) => {
    resolve(name.toLowerCase()).then(
      (addresses) => {
        const family = options.family === "IPv4" ? 4 : options.family === "IPv6" ? 6 : (options.family ?? 0);
        const usable = addresses.filter((address) => family === 0 || address.family === family);
        const [first] = usable;
        if (first === undefined) callback(notFound(name, null), options.all === true ? [] : "", 0);
        else if (options.all === true) callback(null, [...usable]);
        else callback(null, first.address, first.family);
      },
      (error: unknown) => callback(error as NodeJS.ErrnoException, options.all === true ? [] : "", 0),
    );
  };
}

/** Loopback is answered here (RFC 6761 §6.3); anything else by both address types at once, IPv4 first. */
async function resolveName(resolver: Resolver, name: string): Promise<CachedAnswer> {
  if (name === "localhost" || name.endsWith(".localhost")) {
    const addresses: readonly LookupAddress[] = [
      { address: "127.0.0.1", family: 4 },
      { address: "::1", family: 6 },
    ];
    return { addresses, untilMs: monotonicMs() + MAX_CACHE_MS };
  }
  const [four, six] = await Promise.allSettled([
    resolver.resolve4(name, { ttl: true }),
    resolver.resolve6(name, { ttl: true }),
  ]);
  const records: { readonly record: RecordWithTtl; readonly family: number }[] = [
    ...(four.status === "fulfilled" ? four.value.map((record) => ({ record, family: 4 })) : []),
    ...(six.status === "fulfilled" ? six.value.map((record) => ({ record, family: 6 })) : []),
  ];
  if (records.length === 0) throw notFound(name, four.status === "rejected" ? four.reason : null);
  const ttlMs = Math.min(MAX_CACHE_MS, ...records.map(({ record }) => record.ttl * 1000));
  return {
    addresses: records.map(({ record, family }) => ({ address: record.address, family })),
    untilMs: monotonicMs() + ttlMs,
  };
}

function notFound(name: string, cause: unknown): NodeJS.ErrnoException {
  const code = (cause as NodeJS.ErrnoException | null)?.code ?? "ENOTFOUND";
  return Object.assign(new Error(`${name} was not resolved by the configured upstream resolvers (${code})`), { code });
}
