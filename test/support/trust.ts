import { execFileSync } from "node:child_process";
import { createHash, generateKeyPairSync, type KeyObject, sign as signBytes } from "node:crypto";
import type { Judge } from "../../agent/trust/approvals.ts";
import { parseRoot } from "../../agent/trust/parse-root.ts";
import type { Root } from "../../agent/trust/root.ts";
import { wireString } from "../../agent/trust/ssh-wire.ts";
import { armor, sshsigBlob } from "./ssh-keys.ts";

/** A person with one Ed25519 key in memory: quick where the signatures themselves are not under test. */
export interface Signer {
  readonly publicLine: string;
  sign(message: Buffer, namespace?: string): Buffer;
}

/** Returns a signer with a fresh key. */
export function makeSigner(): Signer {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const blob = publicBlob(publicKey);
  return {
    publicLine: `ssh-ed25519 ${blob.toString("base64")}`,
    sign: (message, namespace = "clawgress-policy@v1") => {
      const digest = createHash("sha512").update(message).digest();
      const fields = [namespace, "", "sha512", digest].map((field) => wireString(field));
      const value = signBytes(null, Buffer.concat([Buffer.from("SSHSIG"), ...fields]), privateKey);
      const signature = Buffer.concat([wireString("ssh-ed25519"), wireString(value)]);
      return armor(sshsigBlob({ publicKey: blob, namespace, hash: "sha512", signature }));
    },
  };
}

function publicBlob(key: KeyObject): Buffer {
  const point = Buffer.from(key.export({ format: "jwk" }).x ?? "", "base64url");
  return Buffer.concat([wireString("ssh-ed25519"), wireString(point)]);
}

/** A machine that revokes nothing by itself and saw every signature now. */
export const judge: Judge = { revoked: new Set(), seenAtMs: () => Date.parse("2026-11-26T00:00:00Z") };

/** Returns the JSON of a root as plain data, to be changed by a test and written. */
export function rootJson(keys: { readonly [name: string]: readonly string[] }, threshold: number) {
  const principals = Object.fromEntries(Object.entries(keys).map(([name, lines]) => [name, { keys: lines }]));
  const role = { principals: Object.keys(keys), threshold };
  return { version: 1, root: 1, repository: "egress", principals, roles: { policy: role, root: role } };
}

/** Returns the parsed root of plain data. Throws when it is refused. */
export function makeRoot(json: object): Root {
  const result = parseRoot(Buffer.from(JSON.stringify(json)), "trust/1.json");
  if (!result.ok) throw new Error(result.issues.map((issue) => issue.message).join("; "));
  return result.root;
}

/** Runs git in a folder with settings of its own, and returns what it prints. */
export function git(folder: string, ...args: readonly string[]): string {
  const identity = ["-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "init.defaultBranch=main"];
  return execFileSync("git", ["-C", folder, ...identity, "-c", "commit.gpgsign=false", ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, GIT_CONFIG_GLOBAL: "/dev/null", GIT_CONFIG_SYSTEM: "/dev/null" },
  }).trim();
}
