import { BlockList, isIP } from "node:net";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  addressBits,
  cidrRange,
  compareCidrs,
  type Family,
  formatAddress,
  formatCidr,
  parseAddress,
  parseCidr,
  rangeToCidrs,
} from "../../agent/policy/cidr.ts";
import type { Cidr } from "../../agent/policy/policy.ts";
import { buildPrefixTable } from "../../agent/policy/prefix-table.ts";
import { mergeRanges, subtractRanges } from "../../agent/policy/ranges.ts";

/** Addresses near each other, so that networks nest, touch and repeat. */
const address = fc
  .record({ family: fc.constantFrom<Family>(4, 6), low: fc.nat(0xffff), high: fc.constantFrom(0n, 1n, 0xffffn) })
  .map(({ family, low, high }) => ({
    family,
    value: (family === 4 ? 0x0a00_0000n + (high << 8n) : (0x2001_0db8n << 96n) + (high << 64n)) + BigInt(low),
  }));
const network = fc.tuple(address, fc.nat(32)).map(([{ family, value }, hostBits]) => {
  const shift = BigInt(hostBits);
  return formatCidr({ family, value: (value >> shift) << shift }, addressBits(family) - hostBits);
});
const networks = fc.array(network, { maxLength: 30 });

function oracleOf(cidrs: readonly Cidr[]): (address: string) => boolean {
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [text = "", length] = cidr.split("/");
    list.addSubnet(text, Number(length), isIP(text) === 4 ? "ipv4" : "ipv6");
  }
  return (text) => list.check(text, isIP(text) === 4 ? "ipv4" : "ipv6");
}

test("an address survives being written and read, in the platform's eyes too", () => {
  fc.assert(
    fc.property(fc.constantFrom<Family>(4, 6), fc.bigInt(0n, (1n << 128n) - 1n), (family, bits) => {
      const value = family === 4 ? bits & 0xffff_ffffn : bits;
      const text = formatAddress({ family, value });
      expect(isIP(text)).toBe(family);
      expect(parseAddress(text)).toEqual({ family, value });
      expect(new URL(family === 4 ? `http://${text}/` : `http://[${text}]/`).hostname.replace(/[[\]]/g, "")).toBe(text);
    }),
  );
});

test("every text of an IPv6 address is read like the platform reads it", () => {
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      const parsed = parseAddress(text);
      const platform = new URL(`http://[${text}]/`).hostname.slice(1, -1);
      expect(parsed && formatAddress(parsed)).toBe(platform);
    }),
  );
});

test("merged networks hold exactly the addresses that the platform's list holds", () => {
  fc.assert(
    fc.property(networks, fc.array(address, { minLength: 1, maxLength: 20 }), (cidrs, addresses) => {
      const merged = mergeRanges(cidrs.map(cidrRange));
      const written = merged.flatMap(rangeToCidrs);
      const [before, after] = [oracleOf(cidrs), oracleOf(written)];
      for (const probe of addresses) {
        const text = formatAddress(probe);
        const isHeld = merged.some(
          ({ family, first, last }) => family === probe.family && first <= probe.value && probe.value <= last,
        );
        expect([isHeld, after(text)]).toEqual([before(text), before(text)]);
      }
      for (const cidr of written) expect(parseCidr(cidr)).toEqual({ ok: true, value: cidr });
    }),
  );
});

test("a range without holes holds what the range holds and no hole does", () => {
  fc.assert(
    fc.property(network, networks, fc.array(address, { minLength: 1, maxLength: 20 }), (whole, holes, addresses) => {
      const left = oracleOf(subtractRanges(cidrRange(whole), holes.map(cidrRange)).flatMap(rangeToCidrs));
      const [inWhole, inHoles] = [oracleOf([whole]), oracleOf(holes)];
      for (const probe of addresses.map(formatAddress)) expect(left(probe)).toBe(inWhole(probe) && !inHoles(probe));
    }),
  );
});

test("a table finds every network around an address, the most specific first", () => {
  fc.assert(
    fc.property(networks, address, (cidrs, probe) => {
      const entries = cidrs.map((cidr, index) => ({ range: cidrRange(cidr), value: index }));
      const holding = entries.filter(
        ({ range: { family, first, last } }) => family === probe.family && first <= probe.value && probe.value <= last,
      );
      const size = ({ range }: (typeof entries)[number]): bigint => range.last - range.first;
      const expected = holding.sort((a, b) => (size(a) === size(b) ? a.value - b.value : size(a) < size(b) ? -1 : 1));
      const table = buildPrefixTable(entries);
      expect(table.find(probe)).toEqual(expected.map(({ value }) => value));
      expect(table.findFirst(probe)).toBe(expected[0]?.value ?? null);
    }),
  );
});

test("the order of networks is total: any order of the same networks sorts alike", () => {
  fc.assert(
    fc.property(networks, (cidrs) => {
      expect(cidrs.toReversed().sort(compareCidrs)).toEqual(cidrs.toSorted(compareCidrs));
    }),
  );
});
