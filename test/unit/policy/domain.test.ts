import { expect, test } from "vitest";
import { parseDomainName, parseDomainPattern } from "../../../agent/policy/domain.ts";
import { patternText } from "../../../agent/policy/pattern-text.ts";

const label63 = "a".repeat(63);

test.each([
  ["api.openai.com", "api.openai.com"],
  ["API.OpenAI.com", "api.openai.com"],
  ["*.example.com", "*.example.com"],
  ["*.EXAMPLE.co.uk", "*.example.co.uk"],
  ["_dmarc.example.com", "_dmarc.example.com"],
  ["r3---sn-4g5e.googlevideo.com", "r3---sn-4g5e.googlevideo.com"],
  ["1.example.com", "1.example.com"],
  ["4.3.2.1.in-addr.arpa", "4.3.2.1.in-addr.arpa"],
  ["bücher.example", "xn--bcher-kva.example"],
  ["BÜCHER.example", "xn--bcher-kva.example"],
  ["faß.de", "xn--fa-hia.de"],
  ["例え.テスト", "xn--r8jz45g.xn--zckzah"],
  ["*.xn--bcher-kva.example", "*.xn--bcher-kva.example"],
  ["почта.рф", "xn--80a1acny.xn--p1ai"],
  [`${label63}.example`, `${label63}.example`],
  [`_${label63.slice(1)}.example`, `_${label63.slice(1)}.example`],
])("%s means %s", (text, expected) => {
  const parsed = parseDomainPattern(text);
  expect(parsed.ok && patternText(parsed.value)).toBe(expected);
});

test.each([
  ["", "the name is empty"],
  ["*", "would allow every name"],
  ["*.", "would allow every name"],
  ["*.com", "would allow a whole top-level domain"],
  ["com", "is a single label"],
  ["localhost", "names the machine itself"],
  ["db.localhost", "names the machine itself"],
  ["denied.canary.clawgress.invalid", "can never exist"],
  ["example.com.", "ends in a dot"],
  ["rpz-passthru.", "ends in a dot"],
  ["x.rpz-passthru", "is a keyword of response policy zones"],
  ["32.1.2.0.192.rpz-client-ip", "is a keyword of response policy zones"],
  ["a.*.example.com", "has a * in the middle"],
  ["*.*.example.com", "has a * in the middle"],
  ["a*.example.com", "has a * in the middle"],
  ["192.0.2.1", "is an address, not a name"],
  ["2001:db8::1", "is an address, not a name"],
  ["0x7f.1", "ends in a number"],
  ["127.1", "ends in a number"],
  ["1.2.3.4.5", "ends in a number"],
  ["a.0x7f", "ends in a number"],
  ["１２７.0.0.1", "characters that no host name has"],
  ["ｅxample.com", "characters that no host name has"],
  ["example。com", "characters that no host name has"],
  ["%65xample.com", "characters that no host name has"],
  ["ex/ample.com", "characters that no host name has"],
  ["https://example.com/x", "characters that no host name has"],
  ["example.com:443", "characters that no host name has"],
  ["user@example.com", "characters that no host name has"],
  ["a b.example.com", "characters that no host name has"],
  ["a\nb.example.com", "characters that no host name has"],
  ["a\u0000.example.com", "characters that no host name has"],
  ['a".example.com', "characters that no host name has"],
  ["a;b.example.com", "characters that no host name has"],
  ["$INCLUDE /etc/passwd", "characters that no host name has"],
  ["\u202emoc.elpmaxe", "characters that no host name has"],
  ["a\u200db.example.com", "characters that no host name has"],
  ["pаypal.com", "mixes Latin letters with look-alikes"],
  ["gοοgle.com", "mixes Latin letters with look-alikes"],
  ["a..example.com", "has an empty label"],
  [".example.com", "has an empty label"],
  ["-a.example.com", 'has the wrong label "-a"'],
  ["a-.example.com", 'has the wrong label "a-"'],
  ["a_b.example.com", 'has the wrong label "a_b"'],
  ["_.example.com", 'has the wrong label "_"'],
  ["xn--a.example.com", "is no valid international name"],
  ["xn--.example.com", "is no valid international name"],
  [`${"a".repeat(64)}.example`, "has a label longer than 63 bytes"],
  [`_${"a".repeat(63)}.example`, "has a label longer than 63 bytes"],
  [`${"a-".repeat(40)}.example`, "has a label longer than 63 bytes"],
  [`${`${label63}.`.repeat(4)}example`, "is longer than 253 bytes"],
  [`${`${label63}.`.repeat(3)}${"b".repeat(40)}.example`, "has 240 bytes"],
  ["a".repeat(100_000), "is longer than a name can be"],
])("%j is refused: %s", (text, expected) => {
  const parsed = parseDomainPattern(text);
  expect(parsed.ok ? "accepted" : parsed.message).toContain(expected);
  expect(parsed.ok ? "" : parsed.remedy).not.toBe("");
});

test("a name that is only asked for may be a single label and as long as DNS allows", () => {
  expect(parseDomainName("printer")).toEqual({ ok: true, value: "printer" });
  const longest = `${`${label63}.`.repeat(3)}${"b".repeat(61)}`;
  expect(parseDomainName(longest)).toEqual({ ok: true, value: longest });
});
