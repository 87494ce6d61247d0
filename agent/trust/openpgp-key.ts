import { createHash } from "node:crypto";
import { type Attempt, attempt, decodeBase64, Refusal } from "./ssh-wire.ts";

/** A certificate as `gpg --export` prints it. What it says is read by the OpenPGP library, when it is needed. */
export interface OpenPgpKey {
  readonly certificate: Buffer;
  /** Of the primary key: 40 capital hex digits (version 4) or 64 (version 6), as `gpg --fingerprint` prints without spaces. */
  readonly fingerprint: string;
}

/** An RSA key of 16,384 bits with a few user ids and subkeys. */
export const MAX_OPENPGP_CHARACTERS = 65_536;
const TAG_PUBLIC_KEY = 6;
const SECRET_TAGS: ReadonlySet<number> = new Set([5, 7]);

/**
 * Returns the certificate in one line of base64, or why it is refused: a private key, more than one primary key, a version
 * that is neither 4 nor 6. Each primary key has one fingerprint, by which principals are told apart.
 * @see RFC 9580 §§4.2, 5.5.4
 */
export function parseOpenPgpKey(base64: string): Attempt<OpenPgpKey> {
  return attempt(() => {
    if (base64.length > MAX_OPENPGP_CHARACTERS) {
      throw new Refusal(`the key has more than ${MAX_OPENPGP_CHARACTERS} characters`);
    }
    const certificate = decodeBase64(base64, "the key");
    const packets = [...readPackets(certificate)];
    if (packets.some(({ tag }) => SECRET_TAGS.has(tag)))
      throw new Refusal("it is a private key; export the public one");
    const primaries = packets.filter(({ tag }) => tag === TAG_PUBLIC_KEY);
    const [primary] = primaries;
    if (primary === undefined || packets[0] !== primary) throw new Refusal("it does not begin with a public key");
    if (primaries.length > 1) throw new Refusal("it has more than one primary key; write each as a key of its own");
    return { certificate, fingerprint: fingerprintOf(primary.body) };
  });
}

interface Packet {
  readonly tag: number;
  readonly body: Buffer;
}

function* readPackets(bytes: Buffer): Generator<Packet> {
  for (let at = 0; at < bytes.length; ) {
    const first = bytes.readUInt8(at);
    if (first < 0x80) throw new Refusal("it is not a sequence of OpenPGP packets");
    const isNew = (first & 0x40) !== 0;
    const tag = isNew ? first & 0x3f : (first >> 2) & 0x0f;
    const { length, next } = isNew ? newLength(bytes, at + 1) : oldLength(bytes, at + 1, first & 3);
    if (length > bytes.length - next) throw new Refusal("it ends within a packet");
    yield { tag, body: bytes.subarray(next, next + length) };
    at = next + length;
  }
}

function newLength(bytes: Buffer, at: number): { length: number; next: number } {
  const first = numberAt(bytes, at, 1);
  if (first < 192) return { length: first, next: at + 1 };
  if (first < 224) return { length: (first - 192) * 256 + numberAt(bytes, at + 1, 1) + 192, next: at + 2 };
  if (first === 255) return { length: numberAt(bytes, at + 1, 4), next: at + 5 };
  throw new Refusal("a packet has no definite length");
}

function oldLength(bytes: Buffer, at: number, type: number): { length: number; next: number } {
  if (type === 3) throw new Refusal("a packet has no definite length");
  const size = [1, 2, 4][type] ?? 1;
  return { length: numberAt(bytes, at, size), next: at + size };
}

function numberAt(bytes: Buffer, at: number, size: number): number {
  if (at + size > bytes.length) throw new Refusal("it ends within a packet");
  return bytes.readUIntBE(at, size);
}

function fingerprintOf(body: Buffer): string {
  const version = numberAt(body, 0, 1);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  if (version === 4) return hashOf("sha1", Buffer.of(0x99), length.subarray(2), body);
  if (version === 6) return hashOf("sha256", Buffer.of(0x9b), length, body);
  throw new Refusal(`it has version ${version}; only 4 and 6 are known`);
}

function hashOf(algorithm: "sha1" | "sha256", ...parts: readonly Buffer[]): string {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return hash.digest("hex").toUpperCase();
}
