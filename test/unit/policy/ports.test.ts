import { expect, test } from "vitest";
import type { PortRange } from "../../../agent/policy/policy.ts";
import { includesPort, parsePortRange, portText, splitAtoms, unionPorts } from "../../../agent/policy/ports.ts";

const ports = (text: string): readonly PortRange[] =>
  text.split(" ").map((entry) => {
    const parsed = parsePortRange(entry);
    if (!parsed.ok) throw new Error(parsed.message);
    return parsed.value;
  });
const texts = (ranges: readonly PortRange[]): string => ranges.map(portText).join(" ");

test.each([
  [443, "443/tcp"],
  ["443", "443/tcp"],
  ["443/udp", "443/udp"],
  ["443/tcp", "443/tcp"],
  ["8000-8100", "8000-8100/tcp"],
  ["8000-8100/udp", "8000-8100/udp"],
  ["7-7", "7/tcp"],
  ["1-65535", "1-65535/tcp"],
])("%s opens %s", (entry, expected) => {
  const parsed = parsePortRange(entry);
  expect(parsed.ok && portText(parsed.value)).toBe(expected);
});

test.each([
  ["0", "is no port"],
  [0, "is no port"],
  [-1, "is no port"],
  [1.5, "is no port"],
  [65_536, "is no port"],
  ["1-65536", "is no port"],
  ["0443", "is no port"],
  ["443/sctp", "is no port"],
  ["443/UDP", "is no port"],
  [" 443", "is no port"],
  ["443\n", "is no port"],
  ["1-2-3", "is no port"],
  ["-5", "is no port"],
  ["５", "is no port"],
  ["https", "is no port"],
  ["8100-8000", "the range 8100-8000 is empty"],
])("%s is refused: %s", (entry, expected) => {
  const parsed = parsePortRange(entry);
  expect(parsed.ok ? "accepted" : parsed.message).toContain(expected);
});

test.each([
  ["443 80", "80/tcp 443/tcp"],
  ["80-90 85-100 101", "80-101/tcp"],
  ["80 80/udp", "80/tcp 80/udp"],
])("the union of %s is %s", (entries, expected) => expect(texts(unionPorts(ports(entries)))).toBe(expected));

test.each([
  ["443", "443/tcp"],
  ["80 443 1-1000", "1-79/tcp 80/tcp 81-442/tcp 443/tcp 444-1000/tcp"],
  ["10-20 15-30", "10-14/tcp 15-20/tcp 21-30/tcp"],
  ["10-20 21-30", "10-20/tcp 21-30/tcp"],
  ["53 53/udp 50-60/udp", "53/tcp 50-52/udp 53/udp 54-60/udp"],
  ["1-65535 65535", "1-65534/tcp 65535/tcp"],
])("the atoms of %s are %s", (entries, expected) => expect(texts(splitAtoms(ports(entries)))).toBe(expected));

test("atoms of all odd ports are found at once", () => {
  const odd = Array.from({ length: 32_768 }, (_, index) => ({
    protocol: "tcp" as const,
    first: 2 * index + 1,
    last: 2 * index + 1,
  }));
  expect(splitAtoms(odd)).toEqual(odd);
});

test("a port of one protocol is not the port of the other", () => {
  expect(includesPort(ports("443/udp"), "tcp", 443)).toBe(false);
  expect(includesPort(ports("443/udp"), "udp", 443)).toBe(true);
});
