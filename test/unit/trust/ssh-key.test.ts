import { execFileSync } from "node:child_process";
import { afterAll, describe, expect, test } from "vitest";
import { parsePublicKey } from "../../../agent/trust/ssh-key.ts";
import { wireString } from "../../../agent/trust/ssh-wire.ts";
import { makeFolder, makeSecurityKey, makeSshKey, positive } from "../../support/ssh-keys.ts";

const { folder, remove } = makeFolder();
afterAll(remove);

const accepted = [
  { type: "ed25519", bits: undefined, algorithm: "ssh-ed25519" },
  { type: "ecdsa", bits: 256, algorithm: "ecdsa-sha2-nistp256" },
  { type: "ecdsa", bits: 384, algorithm: "ecdsa-sha2-nistp384" },
  { type: "ecdsa", bits: 521, algorithm: "ecdsa-sha2-nistp521" },
  { type: "rsa", bits: 2048, algorithm: "ssh-rsa" },
];

test.each(accepted)(
  "a $algorithm key of $bits bits has the fingerprint that ssh-keygen prints",
  ({ type, bits, algorithm }) => {
    const key = makeSshKey(folder, `${type}-${bits}`, type, bits);
    const printed = execFileSync("ssh-keygen", ["-l", "-f", `${key.path}.pub`], { encoding: "utf8" }).split(" ")[1];
    const parsed = parsePublicKey(key.publicLine);
    expect(parsed).toMatchObject({ ok: true, value: { algorithm, fingerprint: printed, application: null } });
  },
);

test.each(["ed25519", "ecdsa"] as const)("a security key of kind %s carries its application", (kind) => {
  expect(parsePublicKey(makeSecurityKey(kind).publicLine)).toMatchObject({ ok: true, value: { application: "ssh:" } });
});

const line = (algorithm: string, ...fields: (Buffer | string)[]): string =>
  `${algorithm} ${Buffer.concat([algorithm, ...fields].map(wireString)).toString("base64")} someone`;

const good = makeSshKey(folder, "good").publicLine;
const [algorithm = "", base64 = ""] = good.split(" ");
const blob = Buffer.from(base64, "base64");
const odd = Buffer.alloc(256, 0xff);
const exponent = Buffer.from([1, 0, 1]);

const refused: readonly (readonly [string, string, RegExp])[] = [
  ["nothing", "", /one line of the form/],
  ["options in front", `cert-authority ${good}`, /not one line|not supported/],
  ["a namespace option in front", `namespaces="git" ${good}`, /not one line|not supported/],
  ["two spaces between the fields", good.replace(" ", "  "), /one line/],
  ["a tab between the fields", good.replace(" ", "\t"), /one line/],
  ["a carriage return at the end", `${good}\r`, /one line/],
  ["two lines", `${good}\n${good}`, /one line/],
  ["a byte order mark", `\ufeff${good}`, /one line/],
  ["a NUL in the comment", `${good}\0`, /one line/],
  ["a line of 10,000 characters", `${good} ${"x".repeat(10_000)}`, /more than 8192 characters/],
  ["base64 without its padding", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA", /strict base64/],
  [
    "base64 with spare bits",
    `${algorithm} ${blob.subarray(0, 49).toString("base64").replace(/.==$/, "B==")}`,
    /strict/,
  ],
  ["a certificate", line("ssh-ed25519-cert-v01@openssh.com", "x"), /list the authority/],
  ["DSA", line("ssh-dss", "x"), /ssh-dss: it is not supported; use one of ssh-ed25519/],
  ["Ed448", line("ssh-ed448", Buffer.alloc(57, 1)), /not supported/],
  ["a property of every object", line("constructor", "x"), /not supported/],
  [
    "another algorithm inside than in front",
    `ssh-rsa ${base64}`,
    /the line says ssh-rsa, the key inside says ssh-ed25519/,
  ],
  [
    "bytes after the key",
    `ssh-ed25519 ${Buffer.concat([blob, Buffer.from([0])]).toString("base64")}`,
    /1 bytes too many/,
  ],
  ["an Ed25519 key of 31 bytes", line("ssh-ed25519", Buffer.alloc(31, 9)), /has 32 bytes, this one has 31/],
  ["an Ed25519 point of small order", line("ssh-ed25519", Buffer.alloc(32)), /small order/],
  ["the same with the sign bit", line("ssh-ed25519", Buffer.from(`01${"00".repeat(30)}80`, "hex")), /small order/],
  [
    "a security key that is a point of small order",
    line("sk-ssh-ed25519@openssh.com", Buffer.alloc(32), "ssh:"),
    /small/,
  ],
  [
    "a point that is not on the curve",
    line("ecdsa-sha2-nistp256", "nistp256", Buffer.alloc(65, 4)),
    /not a valid public key/,
  ],
  ["a compressed point", line("ecdsa-sha2-nistp256", "nistp256", Buffer.alloc(33, 2)), /uncompressed/],
  ["a curve that is not the algorithm's", line("ecdsa-sha2-nistp256", "nistp384", Buffer.alloc(65, 4)), /not nistp256/],
  [
    "RSA of 2,047 bits",
    line("ssh-rsa", exponent, positive(Buffer.concat([Buffer.from([0x7f]), odd.subarray(1)]))),
    /has 2047 bits/,
  ],
  ["RSA of 1,024 bits", line("ssh-rsa", exponent, positive(odd.subarray(0, 128))), /has 1024 bits; at least 2048/],
  ["RSA with the exponent 1", line("ssh-rsa", Buffer.from([1]), positive(odd)), /exponent/],
  ["RSA with an even exponent", line("ssh-rsa", Buffer.from([4]), positive(odd)), /exponent/],
  ["RSA with an exponent of 5 bytes", line("ssh-rsa", Buffer.from([1, 0, 0, 0, 1]), positive(odd)), /exponent/],
  ["a negative modulus", line("ssh-rsa", exponent, odd), /not a positive number/],
  [
    "a modulus with a needless zero",
    line("ssh-rsa", exponent, Buffer.concat([Buffer.alloc(2), odd])),
    /needless leading zero/,
  ],
  ["an empty modulus", line("ssh-rsa", exponent, ""), /not a positive number/],
];

describe("refused by name", () => {
  test.each(refused)("%s", (_what, text, why) => {
    expect(parsePublicKey(text)).toEqual({ ok: false, why: expect.stringMatching(why) });
  });
});

test("a key cut at any byte is refused", () => {
  for (let length = 0; length < blob.length; length += 1) {
    expect(parsePublicKey(`ssh-ed25519 ${blob.subarray(0, length).toString("base64")}`).ok).toBe(false);
  }
});
