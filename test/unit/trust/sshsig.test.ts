import { execFileSync } from "node:child_process";
import { createHash, sign } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parsePublicKey, type SshPublicKey } from "../../../agent/trust/ssh-key.ts";
import { wireString } from "../../../agent/trust/ssh-wire.ts";
import { verifySshsig } from "../../../agent/trust/sshsig.ts";
import {
  armor,
  makeFolder,
  makeSecurityKey,
  makeSshKey,
  sshSign,
  sshsigBlob,
  unarmor,
} from "../../support/ssh-keys.ts";

const { folder, remove } = makeFolder();
afterAll(remove);

const namespace = "clawgress-policy@v1";
const message = Buffer.from("the exact bytes that were approved\n");

function parse(line: string): SshPublicKey {
  const parsed = parsePublicKey(line);
  if (!parsed.ok) throw new Error(parsed.why);
  return parsed.value;
}

const kinds = [
  { type: "ed25519", bits: undefined },
  { type: "ecdsa", bits: 256 },
  { type: "ecdsa", bits: 384 },
  { type: "ecdsa", bits: 521 },
  { type: "rsa", bits: 2048 },
  { type: "rsa", bits: 4096 },
];

describe.each(kinds)("signatures of ssh-keygen with $type $bits", ({ type, bits }) => {
  const files = makeSshKey(folder, `${type}-${bits}`, type, bits);
  const key = parse(files.publicLine);
  const armored = sshSign(files, message, namespace);
  const check = (changes: { armored?: Buffer; message?: Buffer; namespace?: string; keys?: SshPublicKey[] }) =>
    verifySshsig({ armored, message, namespace, keys: [key], ...changes });

  test.each(["sha256", "sha512"])("with %s verify", (hash) => {
    expect(check({ armored: sshSign(files, message, namespace, hash) })).toEqual({
      ok: true,
      value: { ...key, certificate: null },
    });
  });
  test("do not fit a message with one bit changed", () => {
    const tampered = Buffer.from(message);
    tampered.writeUInt8(tampered.readUInt8(3) ^ 1, 3);
    expect(check({ message: tampered })).toEqual({ ok: false, why: "the signature does not fit the content" });
  });
  test("do not fit a message with a newline more", () => {
    expect(check({ message: Buffer.concat([message, Buffer.from("\n")]) }).ok).toBe(false);
  });
  test("for another namespace are refused", () => {
    const other = sshSign(files, message, "git");
    expect(check({ armored: other })).toEqual({
      ok: false,
      why: 'it is for the namespace "git", not clawgress-policy@v1',
    });
  });
  test("whose namespace was rewritten are refused", () => {
    const blob = unarmor(sshSign(files, message, "clawgress-policy@v2"));
    const forged = Buffer.from(blob.toString("latin1").replace("policy@v2", "policy@v1"), "latin1");
    expect(check({ armored: armor(forged) })).toMatchObject({ ok: false, why: expect.stringMatching(/does not fit/) });
  });
  test("with any byte changed never verify and never throw", () => {
    const blob = unarmor(armored);
    for (let index = 0; index < blob.length; index += 1) {
      const changed = Buffer.from(blob);
      changed.writeUInt8(changed.readUInt8(index) ^ (1 << (index % 8)), index);
      expect(check({ armored: armor(changed) }).ok, `byte ${index}`).toBe(false);
    }
  });
  test("cut at any byte are refused, armored or not", () => {
    const blob = unarmor(armored);
    for (let length = 0; length < blob.length; length += 1) {
      expect(check({ armored: armor(blob.subarray(0, length)) }).ok, `blob of ${length}`).toBe(false);
    }
    // The last byte is the newline at the end, which may be missing.
    for (let length = 0; length < armored.length - 1; length += 1) {
      expect(check({ armored: armored.subarray(0, length) }).ok, `armor of ${length}`).toBe(false);
    }
    expect(check({ armored: armored.subarray(0, -1) }).ok).toBe(true);
  });
});

describe("security keys", () => {
  test.each(["ed25519", "ecdsa"] as const)("of kind %s count only when they were touched", (kind) => {
    const device = makeSecurityKey(kind);
    const input = { message, namespace, keys: [parse(device.publicLine)] };
    expect(verifySshsig({ ...input, armored: device.sign(message, namespace, 0x01) }).ok).toBe(true);
    expect(verifySshsig({ ...input, armored: device.sign(message, namespace, 0x05) }).ok).toBe(true);
    expect(verifySshsig({ ...input, armored: device.sign(message, namespace, 0x00) })).toEqual({
      ok: false,
      why: "the security key was not touched",
    });
    expect(verifySshsig({ ...input, armored: device.sign("other", namespace, 0x01) }).ok).toBe(false);
  });
  test.each(["ed25519", "ecdsa"] as const)("of kind %s: the simulation convinces ssh-keygen too", (kind) => {
    const device = makeSecurityKey(kind);
    const signers = join(folder, `${kind}.signers`);
    const signature = join(folder, `${kind}.sig`);
    writeFileSync(signers, `alice ${device.publicLine}\n`);
    writeFileSync(signature, device.sign(message, namespace, 0x01));
    const argv = ["-Y", "verify", "-f", signers, "-I", "alice", "-n", namespace, "-s", signature];
    expect(execFileSync("ssh-keygen", argv, { input: message, encoding: "utf8" })).toContain("Good");
  });
  test("with changed flags or counter are refused", () => {
    const device = makeSecurityKey("ed25519");
    const blob = unarmor(device.sign(message, namespace, 0x01));
    const keys = [parse(device.publicLine)];
    for (const fromEnd of [5, 4, 1]) {
      const changed = Buffer.from(blob);
      changed.writeUInt8(changed.readUInt8(blob.length - fromEnd) ^ 4, blob.length - fromEnd);
      expect(verifySshsig({ armored: armor(changed), message, namespace, keys }).ok).toBe(false);
    }
  });
});

describe("what ssh-keygen would let pass, or would never write", () => {
  const files = makeSshKey(folder, "alice");
  const mallory = makeSshKey(folder, "mallory");
  const rsa = makeSshKey(folder, "rsa", "rsa", 2048);
  const key = parse(files.publicLine);
  const armored = sshSign(files, message, namespace);
  const text = armored.toString();
  const fields = { publicKey: key.blob, namespace, hash: "sha512", signature: Buffer.alloc(0) };
  const check = (bytes: Buffer | string, keys = [key]) =>
    verifySshsig({ armored: Buffer.from(bytes), message, namespace, keys });

  const rows: readonly (readonly [string, Buffer | string, RegExp])[] = [
    ["nothing", "", /exactly one armored/],
    ["text", "not a signature", /exactly one armored/],
    ["an armor without content", "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n", /exactly one armored/],
    ["two armors in one file", text + text, /line of the armor|strict base64/],
    ["a good armor after text", `hello\n${text}`, /exactly one armored/],
    ["a good armor before text", `${text}hello\n`, /exactly one armored/],
    ["two newlines at the end", `${text}\n`, /exactly one armored/],
    ["carriage returns", text.replaceAll("\n", "\r\n"), /carriage returns/],
    ["an empty line in the armor", text.replace("\n", "\n\n"), /is empty or longer/],
    ["a space in the armor", text.replace("U1NIU0lH", "U1NIU0lH "), /strict base64/],
    ["a PGP armor", text.replaceAll("SSH", "PGP"), /an OpenPGP signature; only SSH signatures count/],
    ["a NUL at the end", `${text}\0`, /exactly one armored/],
    ["more than 16 KiB", Buffer.alloc(20_000, 65), /more than 16384 bytes/],
    ["bytes after the signature", armor(Buffer.concat([unarmor(armored), Buffer.from([0])])), /1 bytes too many/],
    ["another magic", armor(sshsigBlob({ ...fields, magic: "SSHSIX" })), /does not start with SSHSIG/],
    ["version 2", armor(sshsigBlob({ ...fields, version: 2 })), /version 2; only 1 is known/],
    ["a reserved field", armor(sshsigBlob({ ...fields, reserved: "x" })), /reserved field/],
    ["SHA-1", armor(sshsigBlob({ ...fields, hash: "sha1" })), /the hash "sha1" is not/],
    ["a namespace with a newline", armor(sshsigBlob({ ...fields, namespace: `${namespace}\n` })), /printable ASCII/],
    ["no signature in it", armor(sshsigBlob(fields)), /ends inside signature algorithm/],
    [
      "an RSA signature by an Ed25519 key",
      armor(sshsigBlob({ ...fields, signature: Buffer.concat(["rsa-sha2-512", "x"].map(wireString)) })),
      /a key of type ssh-ed25519 may not sign with "rsa-sha2-512"/,
    ],
    [
      "an algorithm that every object has",
      armor(sshsigBlob({ ...fields, signature: Buffer.concat(["constructor", "x"].map(wireString)) })),
      /may not sign with "constructor"/,
    ],
    [
      "a length that promises 4 GiB",
      armor(Buffer.concat([Buffer.from("SSHSIG\0\0\0\x01"), Buffer.alloc(4, 0xff)])),
      /ends inside public key/,
    ],
  ];
  test.each(rows)("%s", (_what, bytes, why) => {
    expect(check(bytes)).toEqual({ ok: false, why: expect.stringMatching(why) });
  });

  test("the key of somebody else is named by its fingerprint", () => {
    const other = parse(mallory.publicLine);
    const result = check(sshSign(mallory, message, namespace));
    expect(result).toEqual({ ok: false, why: `it was made with another key: ${other.fingerprint}` });
  });
  test("a signature that claims the key of somebody else does not fit", () => {
    const blob = unarmor(sshSign(mallory, message, namespace));
    const forged = Buffer.from(
      blob.toString("hex").replace(parse(mallory.publicLine).blob.toString("hex"), key.blob.toString("hex")),
      "hex",
    );
    expect(forged.equals(blob)).toBe(false);
    expect(check(armor(forged))).toEqual({ ok: false, why: "the signature does not fit the content" });
  });
  test("an RSA signature by SHA-1 is refused although it is arithmetically right", () => {
    const rsaKey = parse(rsa.publicLine);
    const digest = createHash("sha512").update(message).digest();
    const signed = Buffer.concat([
      Buffer.from("SSHSIG"),
      ...[namespace, "", "sha512", digest].map((field) => wireString(field)),
    ]);
    const signature = (name: string, hash: string): Buffer =>
      Buffer.concat([wireString(name), wireString(sign(hash, signed, readFileSync(`${toPem(rsa.path)}`)))]);
    const wrap = (value: Buffer): Buffer => armor(sshsigBlob({ ...fields, publicKey: rsaKey.blob, signature: value }));
    expect(check(wrap(signature("rsa-sha2-512", "sha512")), [rsaKey]).ok).toBe(true);
    expect(check(wrap(signature("ssh-rsa", "sha1")), [rsaKey])).toMatchObject({
      ok: false,
      why: expect.stringMatching(/may not sign with "ssh-rsa"/),
    });
  });
});

function toPem(path: string): string {
  execFileSync("ssh-keygen", ["-q", "-p", "-m", "PEM", "-N", "", "-P", "", "-f", path], { stdio: "ignore" });
  return path;
}
