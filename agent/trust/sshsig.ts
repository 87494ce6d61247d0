import { createHash, verify } from "node:crypto";
import { fingerprintOf, type KeyAlgorithm, type SshPublicKey } from "./ssh-key.ts";
import { type Attempt, attempt, decodeBase64, Refusal, readWire, type WireReader, wireString } from "./ssh-wire.ts";

/** Largest signature file that is looked at: one by an RSA key of 16,384 bits has about 7 kB. */
export const MAX_SIGNATURE_BYTES = 16_384;

const MAGIC = "SSHSIG";
const BEGIN = "-----BEGIN SSH SIGNATURE-----\n";
const END = "\n-----END SSH SIGNATURE-----";
/** The user-presence bit of a security key: somebody touched it. @see OpenSSH PROTOCOL.u2f */
const FLAG_USER_PRESENT = 0x01;

interface Sshsig {
  readonly publicKey: Buffer;
  readonly namespace: string;
  readonly hash: "sha256" | "sha512";
  readonly signature: Buffer;
}

export interface SshsigInput {
  /** The whole file as `ssh-keygen -Y sign` wrote it. */
  readonly armored: Buffer;
  readonly message: Buffer;
  /** What the signature must be for. The one inside the signature is compared with it and never used. */
  readonly namespace: string;
  readonly keys: readonly SshPublicKey[];
}

/**
 * Returns the one of the given keys that signed the message for the namespace, or why the signature does not count.
 * Accepts SHA-256 and SHA-512 only, RSA only as rsa-sha2-256/512, and a security key only when it was touched.
 * Never throws, whatever the bytes are. @see OpenSSH PROTOCOL.sshsig
 */
export function verifySshsig(input: SshsigInput): Attempt<SshPublicKey> {
  return attempt(() => {
    const parsed = parseSshsig(decodeArmor(input.armored));
    if (parsed.namespace !== input.namespace) {
      throw new Refusal(`it is for the namespace ${JSON.stringify(parsed.namespace)}, not ${input.namespace}`);
    }
    const key = input.keys.find((candidate) => candidate.blob.equals(parsed.publicKey));
    if (key === undefined) throw new Refusal(`it was made with another key: ${fingerprintOf(parsed.publicKey)}`);
    const digest = createHash(parsed.hash).update(input.message).digest();
    const signed = Buffer.concat([
      Buffer.from(MAGIC),
      wireString(input.namespace),
      wireString(""),
      wireString(parsed.hash),
      wireString(digest),
    ]);
    if (!verifyRaw(key, signed, parsed.signature)) throw new Refusal("the signature does not fit the content");
    return key;
  });
}

/**
 * The armor must be the whole file: `ssh-keygen` verifies only the first of several armors and ignores what follows,
 * so a file with more in it would look different to it and to a reader.
 */
function decodeArmor(bytes: Buffer): Buffer {
  if (bytes.length > MAX_SIGNATURE_BYTES) throw new Refusal(`it has more than ${MAX_SIGNATURE_BYTES} bytes`);
  const text = bytes.toString("latin1");
  if (text.includes("\r")) throw new Refusal("it has carriage returns; something changed its line ends");
  const body = text.endsWith("\n") ? text.slice(0, -1) : text;
  if (!body.startsWith(BEGIN) || !body.endsWith(END) || body.length <= BEGIN.length + END.length) {
    throw new Refusal("it is not exactly one armored SSH signature");
  }
  const lines = body.slice(BEGIN.length, -END.length).split("\n");
  if (lines.some((line) => line === "" || line.length > 76)) {
    throw new Refusal("a line of the armor is empty or longer than 76 characters");
  }
  return decodeBase64(lines.join(""), "the armor");
}

function parseSshsig(bytes: Buffer): Sshsig {
  const wire = readWire(bytes, "the signature");
  if (!wire.raw("magic", MAGIC.length).equals(Buffer.from(MAGIC))) throw new Refusal("it does not start with SSHSIG");
  const version = wire.uint32("version");
  if (version !== 1) throw new Refusal(`it has version ${version}; only 1 is known`);
  const publicKey = wire.string("public key");
  const namespace = wire.text("namespace");
  if (wire.string("reserved").length !== 0) throw new Refusal("its reserved field is not empty");
  const hash = wire.text("hash algorithm");
  if (hash !== "sha256" && hash !== "sha512") {
    throw new Refusal(`the hash ${JSON.stringify(hash.slice(0, 32))} is not sha256 or sha512`);
  }
  const signature = wire.string("signature");
  wire.end();
  return { publicKey, namespace, hash, signature };
}

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

function verifyRaw(key: SshPublicKey, signed: Buffer, signature: Buffer): boolean {
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
