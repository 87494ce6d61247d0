import {
  fingerprintOf,
  isKeyAlgorithm,
  type KeyAlgorithm,
  readKeyFields,
  readPublicKey,
  type SshPublicKey,
} from "./ssh-key.ts";
import { verifyRaw } from "./ssh-signature.ts";
import { Refusal, readWire, type WireReader, wireString } from "./ssh-wire.ts";

const SUFFIX = "-cert-v01@openssh.com";
const TYPE_USER = 1;
const MAX_IDENTITIES = 64;

/** An OpenSSH user certificate whose authority's signature holds. Whether that authority counts is for the caller to say. */
export interface SshCertificate {
  /** The key that was certified. */
  readonly key: SshPublicKey;
  readonly authority: SshPublicKey;
  /** The names it is for; at least one. */
  readonly identities: readonly string[];
  /** Milliseconds since the epoch; the first at which it is valid. */
  readonly validFromMs: number;
  /** Milliseconds since the epoch; the first at which it is not valid any more. */
  readonly validUntilMs: number;
  /** Fingerprint of the certificate itself. */
  readonly fingerprint: string;
  /** Returns whether it is by this authority and for this name. */
  isBy(authority: SshPublicKey, identity: string): boolean;
}

/** Returns whether a key in binary encoding is a certificate, by its first field. */
export function isCertificate(blob: Buffer): boolean {
  const length = blob.length < 4 ? 0 : blob.readUInt32BE(0);
  return (
    length <= 64 &&
    blob
      .subarray(4, 4 + length)
      .toString("latin1")
      .endsWith(SUFFIX)
  );
}

/**
 * Returns the certificate in the bytes, its authority's signature checked. Throws Refusal for a host's certificate, one
 * for any name at all, one with critical options (each would have to be honoured), and one by another certificate.
 * @see OpenSSH PROTOCOL.certkeys
 */
export function parseCertificate(blob: Buffer): SshCertificate {
  const wire = readWire(blob, "the certificate");
  const algorithm = algorithmOf(wire.text("algorithm"));
  wire.string("nonce");
  const key = readCertifiedKey(wire, algorithm);
  wire.raw("serial", 8);
  if (wire.uint32("type") !== TYPE_USER) throw new Refusal("the certificate is a host's, not a person's");
  wire.text("key id");
  const identities = readIdentities(wire.string("valid principals"));
  const validFromMs = toMs(wire.raw("valid after", 8));
  const validUntilMs = toMs(wire.raw("valid before", 8));
  if (wire.string("critical options").length > 0) throw new Refusal("the certificate has critical options");
  wire.string("extensions");
  wire.string("reserved");
  const authorityBlob = wire.string("signature key");
  const signed = blob.subarray(0, blob.length - wire.left());
  const signature = wire.string("signature");
  wire.end();
  if (isCertificate(authorityBlob)) throw new Refusal("the certificate is by another certificate");
  const authority = readPublicKey(authorityBlob);
  if (!verifyRaw(authority, signed, signature)) throw new Refusal("the authority did not sign the certificate");
  return {
    ...{ key, authority, identities, validFromMs, validUntilMs },
    fingerprint: fingerprintOf(blob),
    isBy: (other, identity) => other.blob.equals(authority.blob) && identities.includes(identity),
  };
}

function algorithmOf(name: string): KeyAlgorithm {
  // Security keys have their domain in the name twice over: sk-ssh-ed25519-cert-v01@openssh.com.
  const base = name.slice(0, -SUFFIX.length);
  const plain = base.startsWith("sk-") ? `${base}@openssh.com` : base;
  if (isKeyAlgorithm(plain)) return plain;
  throw new Refusal(`certificates of type ${name.slice(0, 64)} are not supported`);
}

/** The fields of the key stand in the certificate as in a key, without the algorithm's name in front. */
function readCertifiedKey(wire: WireReader, algorithm: KeyAlgorithm): SshPublicKey {
  const material = readKeyFields(wire, algorithm);
  const blob = Buffer.concat([wireString(algorithm), material.fields]);
  return { algorithm, fingerprint: fingerprintOf(blob), blob, key: material.key, application: material.application };
}

function readIdentities(bytes: Buffer): readonly string[] {
  const wire = readWire(bytes, "the list of valid principals");
  const identities: string[] = [];
  while (wire.left() > 0) {
    if (identities.length === MAX_IDENTITIES)
      throw new Refusal(`the certificate has more than ${MAX_IDENTITIES} names`);
    identities.push(wire.text("name"));
  }
  if (identities.length === 0)
    throw new Refusal("the certificate names nobody, which would make it valid for everybody");
  return identities;
}

/** Seconds as an unsigned number of 64 bits; `forever` is the largest. */
function toMs(bytes: Buffer): number {
  return Number(bytes.readBigUInt64BE(0)) * 1000;
}
