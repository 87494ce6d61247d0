import { execFileSync } from "node:child_process";
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { wireString } from "../../agent/trust/ssh-wire.ts";

/** A key pair as `ssh-keygen` left it on disk. */
export interface SshKeyFiles {
  readonly path: string;
  readonly publicLine: string;
}

/** Returns a fresh folder and a function that removes it. */
export function makeFolder(): { readonly folder: string; readonly remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), "clawgress-trust-"));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Makes a key pair with the real `ssh-keygen`, without a passphrase. */
export function makeSshKey(folder: string, name: string, type = "ed25519", bits?: number): SshKeyFiles {
  const path = join(folder, name);
  const size = bits === undefined ? [] : ["-b", String(bits)];
  execFileSync("ssh-keygen", ["-q", "-t", type, ...size, "-N", "", "-C", name, "-f", path]);
  return { path, publicLine: readFileSync(`${path}.pub`, "utf8").trim() };
}

/** Signs with the real `ssh-keygen -Y sign`. */
export function sshSign(key: SshKeyFiles, message: Buffer | string, namespace: string, hash?: string): Buffer {
  const options = hash === undefined ? [] : ["-O", `hashalg=${hash}`];
  return execFileSync("ssh-keygen", ["-Y", "sign", "-q", "-n", namespace, ...options, "-f", key.path], {
    input: message,
    stdio: ["pipe", "pipe", "ignore"],
  });
}

/** A security key in software: what the hardware would sign, with flags of our choice. */
export interface SecurityKey {
  readonly publicLine: string;
  sign(message: Buffer | string, namespace: string, flags: number): Buffer;
}

const sha256 = (bytes: Buffer | string): Buffer => createHash("sha256").update(bytes).digest();

/** Returns a simulated security key. @see OpenSSH PROTOCOL.u2f */
export function makeSecurityKey(kind: "ed25519" | "ecdsa"): SecurityKey {
  const pair = kind === "ed25519" ? generateKeyPairSync("ed25519") : generateKeyPairSync("ec", { namedCurve: "P-256" });
  const algorithm = kind === "ed25519" ? "sk-ssh-ed25519@openssh.com" : "sk-ecdsa-sha2-nistp256@openssh.com";
  const blob = Buffer.concat([wireString(algorithm), ...publicFields(pair.publicKey), wireString("ssh:")]);
  return {
    publicLine: `${algorithm} ${blob.toString("base64")} simulated`,
    sign: (message, namespace, flags) => {
      const counter = Buffer.from([0, 0, 0, 7]);
      const signed = signedData(namespace, "sha512", createHash("sha512").update(message).digest());
      const inner = Buffer.concat([sha256("ssh:"), Buffer.from([flags]), counter, sha256(signed)]);
      const value = kind === "ed25519" ? sign(null, inner, pair.privateKey) : signEcdsa(inner, pair.privateKey);
      const signature = Buffer.concat([wireString(algorithm), wireString(value), Buffer.from([flags]), counter]);
      return armor(sshsigBlob({ publicKey: blob, namespace, hash: "sha512", signature }));
    },
  };
}

function publicFields(key: KeyObject): Buffer[] {
  const jwk = key.export({ format: "jwk" });
  const x = Buffer.from(jwk.x ?? "", "base64url");
  if (jwk.kty === "OKP") return [wireString(x)];
  const y = Buffer.from(jwk.y ?? "", "base64url");
  return [wireString("nistp256"), wireString(Buffer.concat([Buffer.from([4]), x, y]))];
}

function signEcdsa(bytes: Buffer, key: KeyObject): Buffer {
  const pair = sign("sha256", bytes, { key, dsaEncoding: "ieee-p1363" });
  return Buffer.concat([pair.subarray(0, 32), pair.subarray(32)].map((number) => wireString(positive(number))));
}

/** A positive number in SSH's encoding. */
export function positive(number: Buffer): Buffer {
  let start = 0;
  while (start < number.length - 1 && number[start] === 0) start += 1;
  const minimal = number.subarray(start);
  return (minimal[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), minimal]) : minimal;
}

function signedData(namespace: string, hash: string, digest: Buffer): Buffer {
  const fields = [wireString(namespace), wireString(""), wireString(hash), wireString(digest)];
  return Buffer.concat([Buffer.from("SSHSIG"), ...fields]);
}

/** The fields of a signature, for tests that put the wrong ones in. */
export interface SshsigFields {
  readonly magic?: string;
  readonly version?: number;
  readonly publicKey: Buffer;
  readonly namespace: string;
  readonly reserved?: string;
  readonly hash: string;
  readonly signature: Buffer;
}

/** Returns the binary form of a signature. @see OpenSSH PROTOCOL.sshsig */
export function sshsigBlob(fields: SshsigFields): Buffer {
  const version = Buffer.alloc(4);
  version.writeUInt32BE(fields.version ?? 1);
  return Buffer.concat([
    Buffer.from(fields.magic ?? "SSHSIG"),
    version,
    wireString(fields.publicKey),
    wireString(fields.namespace),
    wireString(fields.reserved ?? ""),
    wireString(fields.hash),
    wireString(fields.signature),
  ]);
}

/** Returns the armored form with lines of 70 characters, as `ssh-keygen` writes it. */
export function armor(blob: Buffer): Buffer {
  const lines = blob.toString("base64").match(/.{1,70}/g) ?? [];
  return Buffer.from(`-----BEGIN SSH SIGNATURE-----\n${lines.join("\n")}\n-----END SSH SIGNATURE-----\n`);
}

/** Returns the binary form inside an armor. */
export function unarmor(armored: Buffer): Buffer {
  return Buffer.from(armored.toString("latin1").split("\n").slice(1, -2).join(""), "base64");
}
