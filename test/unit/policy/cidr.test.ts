import { expect, test } from "vitest";
import {
  cidrRange,
  compareCidrs,
  formatAddress,
  parseAddress,
  parseCidr,
  rangeToCidrs,
  unmapAddress,
} from "../../../agent/policy/cidr.ts";
import type { Cidr } from "../../../agent/policy/policy.ts";
import { mergeRanges, subtractRanges } from "../../../agent/policy/ranges.ts";

test.each([
  ["192.0.2.0/24", "192.0.2.0/24"],
  ["192.0.2.7", "192.0.2.7/32"],
  ["0.0.0.0/0", "0.0.0.0/0"],
  ["2001:DB8::/32", "2001:db8::/32"],
  ["2001:0db8:0000::0001", "2001:db8::1/128"],
  ["1:0:0:2:0:0:0:3", "1:0:0:2::3/128"],
  ["1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7/128"],
  ["0:0:1:2:3:4:0:0", "::1:2:3:4:0:0/128"],
  ["64:ff9b::192.0.2.1", "64:ff9b::c000:201/128"],
  ["::/0", "::/0"],
])("%s is the network %s", (text, expected) => {
  expect(parseCidr(text)).toEqual({ ok: true, value: expected });
});

test.each([
  ["192.0.2.7/24", "has bits set after its prefix", 'write "192.0.2.0/24" for the network, or "192.0.2.7"'],
  ["2001:db8::1/64", "has bits set after its prefix", 'write "2001:db8::/64"'],
  ["::ffff:192.0.2.0/120", "is an IPv4 network written as IPv6", 'write "192.0.2.0/24"'],
  ["::ffff:192.0.2.1", "is an IPv4 network written as IPv6", 'write "192.0.2.1/32"'],
  ["fe80::1%eth0/64", "carries a zone id", "remove the %"],
  ["010.0.0.1/8", "is no address or network", "write"],
  ["1.2.3/24", "is no address or network", "write"],
  ["0x7f.0.0.1", "is no address or network", "write"],
  ["2130706433", "is no address or network", "write"],
  ["1.2.3.4/33", "has no prefix length from 0 to 32", "/32"],
  ["::/129", "has no prefix length from 0 to 128", "/128"],
  ["1.2.3.4/", "has no prefix length", "/32"],
  ["1.2.3.4/08", "has no prefix length", "/32"],
  ["1.2.3.4/-1", "has no prefix length", "/32"],
  ["1.2.3.4/24/8", "has no prefix length", "/32"],
  ["1.2.3.4/255.255.255.0", "has no prefix length", "/32"],
  ["1.2.3.4 ", "is no address or network", "write"],
  ["１.2.3.4", "is no address or network", "write"],
  ["", "is no address or network", "write"],
  ["::1::", "is no address or network", "write"],
  [`${"0:".repeat(10_000)}1`, "is no address or network", "write"],
])("%s is refused: %s", (text, message, remedy) => {
  const parsed = parseCidr(text);
  expect(parsed.ok ? "accepted" : parsed.message).toContain(message);
  expect(parsed.ok ? "" : parsed.remedy).toContain(remedy);
});

test.each([
  ["::ffff:192.0.2.1", "192.0.2.1"],
  ["::ffff:0:1", "0.0.0.1"],
  ["::192.0.2.1", "::c000:201"],
  ["192.0.2.1", "192.0.2.1"],
])("%s is the address of %s", (text, expected) => {
  const address = parseAddress(text);
  expect(address && formatAddress(unmapAddress(address))).toBe(expected);
});

const range = (first: string, last: string) => {
  const [from, to] = [parseAddress(first), parseAddress(last)];
  if (from === null || to === null) throw new Error("write addresses");
  return { family: from.family, first: from.value, last: to.value };
};

test.each([
  ["192.0.2.0", "192.0.2.255", ["192.0.2.0/24"]],
  ["192.0.2.1", "192.0.2.6", ["192.0.2.1/32", "192.0.2.2/31", "192.0.2.4/31", "192.0.2.6/32"]],
  ["0.0.0.0", "255.255.255.255", ["0.0.0.0/0"]],
  ["::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ["::/0"]],
  ["255.255.255.255", "255.255.255.255", ["255.255.255.255/32"]],
])("%s to %s are the networks %j", (first, last, expected) => {
  expect(rangeToCidrs(range(first, last))).toEqual(expected);
});

test("networks are ordered by family, address, then the wider first", () => {
  const sorted = ["::/0", "10.0.0.0/8", "9.0.0.0/8", "10.0.0.0/16", "2.0.0.0/8"] as Cidr[];
  expect(sorted.toSorted(compareCidrs)).toEqual(["2.0.0.0/8", "9.0.0.0/8", "10.0.0.0/8", "10.0.0.0/16", "::/0"]);
});

test("ranges that touch become one; families never do", () => {
  const merged = mergeRanges(
    ["10.0.1.0/24", "10.0.0.0/24", "::/128", "10.0.0.7/32"].map((text) => cidrRange(text as Cidr)),
  );
  expect(merged.flatMap(rangeToCidrs)).toEqual(["10.0.0.0/23", "::/128"]);
});

test("a range without holes is what is left on all sides of them", () => {
  const holes = ["10.0.0.0/25", "10.0.0.192/26", "::/0"].map((text) => cidrRange(text as Cidr));
  expect(subtractRanges(cidrRange("10.0.0.0/24" as Cidr), holes).flatMap(rangeToCidrs)).toEqual(["10.0.0.128/26"]);
  expect(subtractRanges(cidrRange("10.0.0.0/26" as Cidr), holes)).toEqual([]);
});
