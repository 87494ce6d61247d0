import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import { type Attempt, attempt, decodeBase64, Refusal, readWire, type WireReader } from "./ssh-wire.ts";

export type KeyAlgorithm =
  | "ssh-ed25519"
  | "ecdsa-sha2-nistp256"
  | "ecdsa-sha2-nistp384"
  | "ecdsa-sha2-nistp521"
  | "ssh-rsa"
  | "sk-ssh-ed25519@openssh.com"
  | "sk-ecdsa-sha2-nistp256@openssh.com";

export interface SshPublicKey {
  readonly algorithm: KeyAlgorithm;
  /** As `ssh-keygen -l` prints it: `SHA256:` and 43 characters. */
  readonly fingerprint: string;
  /** The key in SSH's binary encoding: two keys are the same when these bytes are. */
  readonly blob: Buffer;
  readonly key: KeyObject;
  /** The application string of a security key (`ssh:` by default); null for keys in software. */
  readonly application: string | null;
}

/** An RSA key of 16,384 bits with a comment stays well below. */
const MAX_LINE_CHARACTERS = 8192;
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 16_384;

interface Curve {
  readonly crv: string;
  readonly coordinateBytes: number;
}
const curves: { readonly [name: string]: Curve | undefined } = {
  nistp256: { crv: "P-256", coordinateBytes: 32 },
  nistp384: { crv: "P-384", coordinateBytes: 48 },
  nistp521: { crv: "P-521", coordinateBytes: 66 },
};

type Material = Pick<SshPublicKey, "key" | "application">;

const readers: { readonly [algorithm in KeyAlgorithm]: (wire: WireReader) => Material } = {
  "ssh-ed25519": (wire) => ({ key: readEd25519(wire), application: null }),
  "ecdsa-sha2-nistp256": (wire) => ({ key: readEcdsa(wire, "nistp256"), application: null }),
  "ecdsa-sha2-nistp384": (wire) => ({ key: readEcdsa(wire, "nistp384"), application: null }),
  "ecdsa-sha2-nistp521": (wire) => ({ key: readEcdsa(wire, "nistp521"), application: null }),
  "ssh-rsa": (wire) => ({ key: readRsa(wire), application: null }),
  "sk-ssh-ed25519@openssh.com": (wire) => ({ key: readEd25519(wire), application: wire.text("application") }),
  "sk-ecdsa-sha2-nistp256@openssh.com": (wire) => ({
    key: readEcdsa(wire, "nistp256"),
    application: wire.text("application"),
  }),
};

/** The algorithms that are understood, in the order in which messages list them. */
export const keyAlgorithms = Object.keys(readers) as readonly KeyAlgorithm[];

/** Returns whether a name is one of the algorithms that are understood. */
export function isKeyAlgorithm(name: string): name is KeyAlgorithm {
  return keyAlgorithms.some((algorithm) => algorithm === name);
}

/** Returns the key whose fields come next, and their bytes as they stand. Throws Refusal unless it is sound. */
export function readKeyFields(wire: WireReader, algorithm: KeyAlgorithm): Material & { readonly fields: Buffer } {
  const rest = wire.rest();
  const material = readers[algorithm](wire);
  return { ...material, fields: rest.subarray(0, rest.length - wire.left()) };
}

/**
 * Returns the key of one OpenSSH public key line (`algorithm base64 [comment]`), or why it is refused: certificates,
 * DSA, RSA below 2,048 bits, options in front, anything after the key but a comment.
 * @see RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4, OpenSSH PROTOCOL.u2f
 */
export function parsePublicKey(line: string): Attempt<SshPublicKey> {
  return attempt(() => {
    if (line.length > MAX_LINE_CHARACTERS) throw new Refusal(`the key has more than ${MAX_LINE_CHARACTERS} characters`);
    const [, name, base64] = /^(\S+) ([A-Za-z0-9+/]+={0,2})(?: [\x20-\x7e]*)?$/.exec(line) ?? [];
    if (name === undefined || base64 === undefined) {
      throw new Refusal("it is not one line of the form `algorithm base64 [comment]`");
    }
    return readPublicKey(decodeBase64(base64, "the key"), assertKnown(name));
  });
}

function assertKnown(name: string): KeyAlgorithm {
  if (isKeyAlgorithm(name)) return name;
  const shown = /^[\x21-\x7e]{1,64}$/.test(name) ? name : "this algorithm";
  if (shown.includes("-cert-"))
    throw new Refusal(`${shown}: list the authority under \`authorities\`, not a certificate`);
  throw new Refusal(`${shown}: it is not supported; use one of ${keyAlgorithms.join(", ")}`);
}

/**
 * Returns the key of a binary encoding. Throws Refusal unless it is a sound key, of the expected algorithm where one is
 * given.
 */
export function readPublicKey(blob: Buffer, expected?: KeyAlgorithm): SshPublicKey {
  const wire = readWire(blob, "the key");
  const inside = wire.text("algorithm");
  if (expected !== undefined && inside !== expected) {
    throw new Refusal(`the line says ${expected}, the key inside says ${inside.slice(0, 64)}`);
  }
  const algorithm = assertKnown(inside);
  const material = readers[algorithm](wire);
  wire.end();
  return { algorithm, fingerprint: fingerprintOf(blob), blob: Buffer.from(blob), ...material };
}

/** Returns the fingerprint of a key in binary encoding as `ssh-keygen -l` prints it; the bytes need not be a valid key. */
export function fingerprintOf(blob: Buffer): string {
  return `SHA256:${createHash("sha256").update(blob).digest("base64").replaceAll("=", "")}`;
}

/**
 * Points of small order, by their y coordinate with the sign bit cleared: for such a "public key" anybody can write
 * signatures that verify. @see RFC 8032 §5.1, RFC 7748 §6.1 on checking for them
 */
const weakEd25519 = new Set([
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]);

function readEd25519(wire: WireReader): KeyObject {
  const point = wire.string("public key");
  if (point.length !== 32) throw new Refusal(`an Ed25519 key has 32 bytes, this one has ${point.length}`);
  const y = Buffer.from(point);
  y.writeUInt8(y.readUInt8(31) & 0x7f, 31);
  if (weakEd25519.has(y.toString("hex"))) throw new Refusal("the Ed25519 key is a point of small order");
  return importJwk({ kty: "OKP", crv: "Ed25519", x: point.toString("base64url") });
}

function readEcdsa(wire: WireReader, expected: string): KeyObject {
  const name = wire.text("curve");
  const curve = curves[expected];
  if (name !== expected || curve === undefined) throw new Refusal(`the curve is not ${expected}`);
  const point = wire.string("point");
  const { crv, coordinateBytes } = curve;
  if (point.length !== 1 + 2 * coordinateBytes || point[0] !== 4) {
    throw new Refusal(`the point is not an uncompressed point of ${expected}`);
  }
  const x = point.subarray(1, 1 + coordinateBytes).toString("base64url");
  const y = point.subarray(1 + coordinateBytes).toString("base64url");
  return importJwk({ kty: "EC", crv, x, y });
}

function readRsa(wire: WireReader): KeyObject {
  const exponent = wire.positive("exponent");
  const modulus = wire.positive("modulus");
  const bits = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24;
  if (bits < MIN_RSA_BITS) throw new Refusal(`the RSA key has ${bits} bits; at least ${MIN_RSA_BITS} are needed`);
  if (bits > MAX_RSA_BITS) throw new Refusal(`the RSA key has ${bits} bits; at most ${MAX_RSA_BITS} are read`);
  const e = exponent.length <= 4 ? exponent.readUIntBE(0, exponent.length) : 0;
  if (e < 3 || e % 2 === 0) throw new Refusal("the RSA exponent is not an odd number from 3 to 2^32 - 1");
  return importJwk({ kty: "RSA", n: modulus.toString("base64url"), e: exponent.toString("base64url") });
}

function importJwk(key: { readonly kty: string; readonly [field: string]: string }): KeyObject {
  try {
    return createPublicKey({ key, format: "jwk" });
  } catch {
    // OpenSSL's own sentences differ between versions; what they mean here is one thing.
    throw new Refusal("the numbers in it are not a valid public key");
  }
}
