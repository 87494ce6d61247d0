import { createHash } from "node:crypto";
import { isCertificate, parseCertificate, type SshCertificate } from "./ssh-certificate.ts";
import { fingerprintOf, type SshPublicKey } from "./ssh-key.ts";
import { verifyRaw } from "./ssh-signature.ts";
import { type Attempt, attempt, decodeBase64, Refusal, readWire, wireString } from "./ssh-wire.ts";

/** Largest signature file that is looked at: one by an RSA key of 16,384 bits has about 7 kB. */
export const MAX_SIGNATURE_BYTES = 16_384;

const MAGIC = "SSHSIG";
const BEGIN = "-----BEGIN SSH SIGNATURE-----\n";
const END = "\n-----END SSH SIGNATURE-----";

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
  /** Who may certify keys, and for which name in the certificate; none by default. */
  readonly certifiers?: readonly Certifier[];
}

/** An authority whose certificates count when they are for this name. */
export interface Certifier {
  readonly authority: SshPublicKey;
  readonly identity: string;
}

/** The key that signed, and the certificate by which it counts; null when the key itself is listed. */
export interface SigningSshKey extends SshPublicKey {
  readonly certificate: SshCertificate | null;
}

/**
 * Returns the key that signed the message for the namespace, one of those given or one that a given authority
 * certified, or why the signature does not count. When a certificate was valid is the caller's to judge.
 * Accepts SHA-256 and SHA-512 only, RSA only as rsa-sha2-256/512, and a security key only when it was touched.
 * Never throws, whatever the bytes are. @see OpenSSH PROTOCOL.sshsig
 */
export function verifySshsig(input: SshsigInput): Attempt<SigningSshKey> {
  return attempt(() => {
    const parsed = parseSshsig(decodeArmor(input.armored));
    if (parsed.namespace !== input.namespace) {
      throw new Refusal(`it is for the namespace ${JSON.stringify(parsed.namespace)}, not ${input.namespace}`);
    }
    const key = findKey(parsed.publicKey, input);
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

function findKey(blob: Buffer, { keys, certifiers = [] }: SshsigInput): SigningSshKey {
  if (isCertificate(blob)) {
    const certificate = parseCertificate(blob);
    const certifier = certifiers.find(({ authority, identity }) => certificate.isBy(authority, identity));
    if (certifier !== undefined) return { ...certificate.key, certificate };
    const names = certificate.identities.map((name) => JSON.stringify(name)).join(", ");
    throw new Refusal(`its certificate, for ${names} by ${certificate.authority.fingerprint}, is not one that counts`);
  }
  const key = keys.find((candidate) => candidate.blob.equals(blob));
  if (key !== undefined) return { ...key, certificate: null };
  throw new Refusal(`it was made with another key: ${fingerprintOf(blob)}`);
}

/** What other signers write, by how it begins: said in plain words, for they will never count here. */
const foreignFormats: readonly (readonly [begin: RegExp, name: string])[] = [
  [/^untrusted comment: /, "a minisign or signify signature"],
  [/^\s*\{[\s\S]*"(?:payloadType|dsseEnvelope|mediaType)"/, "a DSSE envelope or Sigstore bundle"],
  [/^-----BEGIN PGP /, "an OpenPGP signature"],
  [/^-----BEGIN (?:CMS|PKCS7|SIGNED MESSAGE)-----/, "an X.509 signature"],
  [/^-----BEGIN [A-Z ]*PRIVATE KEY-----/, "a PRIVATE KEY, which must never be in a repository"],
];

/**
 * The armor must be the whole file: `ssh-keygen` verifies only the first of several armors and ignores what follows,
 * so a file with more in it would look different to it and to a reader.
 */
function decodeArmor(bytes: Buffer): Buffer {
  if (bytes.length > MAX_SIGNATURE_BYTES) throw new Refusal(`it has more than ${MAX_SIGNATURE_BYTES} bytes`);
  const text = bytes.toString("latin1");
  const foreign = foreignFormats.find(([begin]) => begin.test(text));
  if (foreign !== undefined) throw new Refusal(`it is ${foreign[1]}; only SSH signatures count (\`clawgress sign\`)`);
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
