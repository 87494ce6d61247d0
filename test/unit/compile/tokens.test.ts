import { describe, expect, it } from "vitest";
import {
  addressToken,
  interfaceToken,
  markToken,
  nameToken,
  pathToken,
  placeToken,
  portToken,
} from "../../../agent/compile/tokens.ts";

const hostile = [
  "",
  "a b",
  "a\nb",
  "a;b",
  'a"b',
  "a{b}",
  "a#b",
  "a\\b",
  "a\0b",
  "$INCLUDE /etc/passwd",
  "@",
  "*",
  "*.a",
  ".a",
  "a.",
  "a..b",
  "\u202ea",
  "ａ.com",
  "a'b",
  "a`b",
  "(a",
  "a,b",
  "a%0ab",
];

describe("nameToken", () => {
  it.each(["a", "a.b", "_dmarc.example.com", "xn--bcher-kva.example", "0.1.2", "a_b.c", `${"a".repeat(63)}.com`])(
    "writes %s",
    (name) => expect(nameToken(name)).toBe(name),
  );
  it.each([...hostile, "A.com", "-a.com", "a-.com", `${"a".repeat(64)}.com`, `${"a.".repeat(126)}aa`])(
    "refuses %j",
    (name) => expect(() => nameToken(name)).toThrow(RangeError),
  );
});

describe("addressToken", () => {
  it.each([
    ["192.0.2.1", "192.0.2.1"],
    ["2001:DB8::1", "2001:db8::1"],
  ])("writes %s", (text, token) => expect(addressToken(text)).toBe(token));
  it.each([...hostile, "192.0.2.1/24", "fe80::1%eth0", "1.2.3", "0x7f000001", "127.1"])("refuses %j", (text) =>
    expect(() => addressToken(text)).toThrow(RangeError),
  );
});

describe("interfaceToken", () => {
  it.each(["eth0", "eth0.100", "br-lan", "enp3s0f1np1", "wg_1"])("writes %s", (name) =>
    expect(interfaceToken(name)).toBe(`"${name}"`),
  );
  it.each([...hostile.filter((text) => text !== "a." && text !== "a..b"), "lo", "eth*", "sixteen-letters-", "-eth0"])(
    "refuses %j",
    (name) => expect(() => interfaceToken(name)).toThrow(/cannot be an interface/),
  );
});

describe("pathToken", () => {
  it("writes an absolute path in quotes", () =>
    expect(pathToken("/etc/bind/keys-1.conf")).toBe('"/etc/bind/keys-1.conf"'));
  it.each([...hostile, "relative/path", '/a"b', "/a\nb", "/a;b", "/a\\b"])("refuses %j", (path) =>
    expect(() => pathToken(path)).toThrow(/cannot be written into a configuration file/),
  );
});

describe("numbers", () => {
  it("writes marks as eight hexadecimal digits", () => expect(markToken(0x63_6c_61_77)).toBe("0x636c6177"));
  it.each([-1, 1.5, 2 ** 32, Number.NaN])("refuses %d as a mark", (mark) =>
    expect(() => markToken(mark)).toThrow(RangeError),
  );
  it.each([0, 65_536, 1.5])("refuses %d as a port", (port) => expect(() => portToken(port)).toThrow(RangeError));
});

describe("placeToken", () => {
  it("names file and line", () =>
    expect(placeToken({ file: "policies/team.json", line: 12, column: 3, pointer: "/a" })).toBe(
      "policies/team.json:12",
    ));
  it.each(hostile)("makes the file %j harmless", (file) => {
    expect(placeToken({ file, line: 1, column: 1, pointer: "" })).toMatch(/^[A-Za-z0-9._/-]*:1$/);
  });
});
