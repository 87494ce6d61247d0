import { createHash, verify } from "node:crypto";
import type { KeyAlgorithm, SshPublicKey } from "./ssh-key.ts";
import { Refusal, readWire, type WireReader } from "./ssh-wire.ts";

/** The user-presence bit of a security key: somebody touched it. @see OpenSSH PROTOCOL.u2f */
const FLAG_USER_PRESENT = 0x01;

type RawVerifier = (key: SshPublicKey, signed: Buffer, wire: WireReader) => boolean;

/** Signature algorithm → which keys may use it, and how. `ssh-rsa` (SHA-1) is missing on purpose. */
const verifiers: {
  readonly [name: string]: { readonly keys: KeyAlgorithm; readonly verify: RawVerifier } | undefined;
} = {
  "ssh-ed25519": { keys: "ssh-ed25519", verify: verifyEd25519 },
  "ecdsa-sha2-nistp256": { keys: "ecdsa-sha2-nistp256", verify: verifyEcdsa("sha256", 32) },
  "ecdsa-sha2-nistp384": { keys: "ecdsa-sha2-nistp384", verify: verifyEcdsa("sha384", 48) },
  "ecdsa-sha2-nistp521": { keys: "ecdsa-sha2-nistp521", verify: verifyEcdsa("sha512", 66) },
  "rsa-sha2-256": { keys: "ssh-rsa", verify: verifyRsa("sha256") },
  "rsa-sha2-512": { keys: "ssh-rsa", verify: verifyRsa("sha512") },
  "sk-ssh-ed25519@openssh.com": {
    keys: "sk-ssh-ed25519@openssh.com",
    verify: verifySecurityKey((key, signed, value) => verify(null, signed, key.key, value)),
  },
  "sk-ecdsa-sha2-nistp256@openssh.com": {
    keys: "sk-ecdsa-sha2-nistp256@openssh.com",
    verify: verifySecurityKey((key, signed, value) => verifyEcdsaValue(key, signed, value, "sha256", 32)),
  },
};

/**
 * Returns whether a signature in SSH's binary encoding is the key's over exactly these bytes. RSA only as
 * rsa-sha2-256/512, a security key only when it was touched. Throws Refusal for what is malformed or of another algorithm.
 * @see RFC 4253 §6.6, RFC 8332, OpenSSH PROTOCOL.u2f
 */
export function verifyRaw(key: SshPublicKey, signed: Buffer, signature: Buffer): boolean {
  const wire = readWire(signature, "the signature");
  const algorithm = wire.text("signature algorithm");
  const known = Object.hasOwn(verifiers, algorithm) ? verifiers[algorithm] : undefined;
  if (known === undefined || known.keys !== key.algorithm) {
    throw new Refusal(`a key of type ${key.algorithm} may not sign with ${JSON.stringify(algorithm.slice(0, 64))}`);
  }
  return known.verify(key, signed, wire);
}

function verifyEd25519(key: SshPublicKey, signed: Buffer, wire: WireReader): boolean {
  const value = wire.string("signature value");
  wire.end();
  return verify(null, signed, key.key, value);
}

function verifyRsa(hash: string): RawVerifier {
  return (key, signed, wire) => {
    const value = wire.string("signature value");
    wire.end();
    return verify(hash, signed, key.key, value);
  };
}

function verifyEcdsa(hash: string, coordinateBytes: number): RawVerifier {
  return (key, signed, wire) => {
    const value = wire.string("signature value");
    wire.end();
    return verifyEcdsaValue(key, signed, value, hash, coordinateBytes);
  };
}

function verifyEcdsaValue(key: SshPublicKey, signed: Buffer, value: Buffer, hash: string, bytes: number): boolean {
  const wire = readWire(value, "the ECDSA value");
  const numbers = [wire.positive("r"), wire.positive("s")];
  wire.end();
  if (numbers.some((number) => number.length > bytes)) return false;
  const padded = numbers.map((number) => Buffer.concat([Buffer.alloc(bytes - number.length), number]));
  return verify(hash, signed, { key: key.key, dsaEncoding: "ieee-p1363" }, Buffer.concat(padded));
}

/** What a security key signs is not the message but hashes, its flags and its counter. @see OpenSSH PROTOCOL.u2f */
function verifySecurityKey(check: (key: SshPublicKey, signed: Buffer, value: Buffer) => boolean): RawVerifier {
  return (key, signed, wire) => {
    const value = wire.string("signature value");
    const flags = wire.byte("flags");
    const counter = wire.raw("counter", 4);
    wire.end();
    if ((flags & FLAG_USER_PRESENT) === 0) throw new Refusal("the security key was not touched");
    const sha256 = (bytes: Buffer | string): Buffer => createHash("sha256").update(bytes).digest();
    const inner = Buffer.concat([sha256(key.application ?? ""), Buffer.from([flags]), counter, sha256(signed)]);
    return check(key, inner, value);
  };
}
