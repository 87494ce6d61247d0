import fc from "fast-check";

/** Few different addresses, names and ports, so that two policies have much in common and differ in all kinds of parts. */
const address = fc.integer({ min: 1, max: 6 }).map((last) => `10.1.0.${last}`);
const source = fc.oneof(address, fc.constantFrom("10.2.0.0/24", "10.2.0.128/25", "2001:db8:1::/64", "2001:db8:1::7"));
const network = fc.constantFrom("198.18.0.0/16", "198.18.1.0/24", "198.18.1.7", "203.0.113.0/24", "2001:db8:9::/48");
const ports = fc.uniqueArray(fc.constantFrom(53, 80, 443, "443/udp", "8000-8010"), { minLength: 1, maxLength: 3 });
const name = fc.constantFrom(
  "a.example.com",
  "b.example.com",
  "*.example.com",
  "x.a.example.com",
  "*.b.test",
  "c.test",
);
/** Inner names: in SNI mode their networks are a set of ranges of the packet path. */
const inner = fc.constantFrom("10.9.0.0/24", "10.9.0.128/25", "10.9.1.0/24").map((network) => ({
  domain: "inner.test",
  answers: [network],
}));
const proxy = fc.option(fc.constant({ mode: "sni-allowlist" }), { nil: undefined });
const egress = fc.option(fc.record({ egress_kbps: fc.integer({ min: 1, max: 3 }).map((mbps) => mbps * 1000) }), {
  nil: undefined,
});
const allow = fc.record(
  {
    domains: fc.uniqueArray(fc.oneof(name, inner), { minLength: 1, maxLength: 3 }),
    ips: fc.uniqueArray(network, { minLength: 1, maxLength: 3 }),
    ports,
  },
  { requiredKeys: ["domains", "ports"] },
);
const deny = fc.record(
  {
    domains: fc.uniqueArray(fc.constantFrom("a.example.com", "evil.test"), { minLength: 1 }),
    ips: fc.uniqueArray(fc.constantFrom("198.18.1.0/24", "203.0.113.7"), { minLength: 1 }),
  },
  { requiredKeys: ["ips"] },
);
const host = fc.record({ allow, limits: egress, deny: fc.option(deny, { nil: undefined }) });

/** Documents of valid policies, with every kind of element that the packet path has. */
export const policyDocument: fc.Arbitrary<object> = fc
  .record({
    version: fc.constant(1),
    allow,
    deny: fc.option(deny, { nil: undefined }),
    limits: egress,
    proxy,
    mode: fc.constantFrom("enforce", "enforce", "audit"),
    hosts: fc.tuple(fc.uniqueArray(source, { maxLength: 5 }), fc.array(host, { minLength: 5, maxLength: 5 })),
  })
  .map(({ hosts: [sources, entries], ...rest }) => {
    const hosts = Object.fromEntries(sources.map((one, index) => [`h${index}`, { sources: [one], ...entries[index] }]));
    return JSON.parse(JSON.stringify({ ...rest, hosts })) as object;
  });
