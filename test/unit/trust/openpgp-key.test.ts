import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { MAX_OPENPGP_CHARACTERS, parseOpenPgpKey } from "../../../agent/trust/openpgp-key.ts";

/** Real certificates of gpg are judged where commits are; here it is what nobody's program makes. */
const packet = (tag: number, body: Buffer): Buffer => Buffer.concat([Buffer.of(0xc0 | tag, body.length), body]);
const key = Buffer.concat([Buffer.of(4, 1, 2, 3, 4, 22), Buffer.alloc(40, 7)]);
const userId = packet(13, Buffer.from("alice"));
const refusalOf = (bytes: Buffer): string => {
  const parsed = parseOpenPgpKey(bytes.toString("base64"));
  return parsed.ok ? "" : parsed.why;
};

describe("an OpenPGP certificate", () => {
  it("has the fingerprint of its primary key (RFC 9580 §5.5.4.2)", () => {
    const parsed = parseOpenPgpKey(Buffer.concat([packet(6, key), userId]).toString("base64"));
    const expected = createHash("sha1")
      .update(Buffer.of(0x99, 0, key.length))
      .update(key)
      .digest("hex")
      .toUpperCase();
    expect(parsed).toMatchObject({ ok: true, value: { fingerprint: expected } });
  });

  it.each<[string, Buffer, string]>([
    ["a private key", packet(5, key), "it is a private key; export the public one"],
    ["a private subkey", Buffer.concat([packet(6, key), packet(7, key)]), "it is a private key; export the public one"],
    ["a name before the key", Buffer.concat([userId, packet(6, key)]), "it does not begin with a public key"],
    [
      "two primary keys",
      Buffer.concat([packet(6, key), packet(6, key)]),
      "it has more than one primary key; write each as a key of its own",
    ],
    ["an old version", packet(6, Buffer.concat([Buffer.of(3), key])), "it has version 3; only 4 and 6 are known"],
    ["a packet that ends early", packet(6, key).subarray(0, 10), "it ends within a packet"],
    ["a length that nobody knows", Buffer.of(0xc6, 0xe0), "a packet has no definite length"],
    ["an old length that nobody knows", Buffer.of(0x9b), "a packet has no definite length"],
    ["text", Buffer.from("hello"), "it is not a sequence of OpenPGP packets"],
  ])("is refused as %s", (_name, bytes, why) => {
    expect(refusalOf(bytes)).toBe(why);
  });

  it("is refused when it is longer than any of use", () => {
    const parsed = parseOpenPgpKey("A".repeat(MAX_OPENPGP_CHARACTERS + 4));
    expect(parsed).toMatchObject({ ok: false, why: expect.stringContaining("characters") });
  });
});
