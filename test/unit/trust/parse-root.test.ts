import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { parseRoot } from "../../../agent/trust/parse-root.ts";
import { makeSigner, rootJson } from "../../support/trust.ts";

const [alice, bob, carol] = [makeSigner(), makeSigner(), makeSigner()].map((signer) => signer.publicLine);
const keys = { alice: [alice ?? ""], bob: [bob ?? ""], carol: [carol ?? ""] };
const good = rootJson(keys, 2);
const policy = good.roles.policy;
const parse = (value: unknown) =>
  parseRoot(Buffer.from(typeof value === "string" ? value : JSON.stringify(value)), "trust/1.json");

test("a root has its principals sorted, with keys, and its roles", () => {
  const shuffled = {
    ...good,
    principals: { carol: good.principals["carol"], bob: good.principals["bob"], alice: good.principals["alice"] },
  };
  expect(parse(shuffled)).toMatchObject({
    ok: true,
    root: {
      root: 1,
      repository: "egress",
      principals: [{ name: "alice" }, { name: "bob" }, { name: "carol" }],
      roles: { policy: { principals: ["alice", "bob", "carol"], threshold: 2 }, freshness: null },
    },
  });
});

test("a schema reference, several keys of one person and the role freshness are welcome", () => {
  const two = { ...keys, alice: [alice ?? "", makeSigner().publicLine] };
  const json = { $schema: "x", ...rootJson(two, 1) };
  const freshness = { principals: ["bob"], threshold: 1 };
  const result = parse({ ...json, roles: { ...json.roles, freshness } });
  expect(result).toMatchObject({ ok: true, root: { roles: { freshness } } });
  expect(result.ok && result.root.principals[0]?.keys.length).toBe(2);
});

const withRoles = (roles: object) => ({ ...good, roles: { ...good.roles, ...roles } });
const withPrincipals = (principals: object) => ({ ...good, principals: { ...good.principals, ...principals } });

const rows: readonly (readonly [string, unknown, string, RegExp])[] = [
  ["nothing", "", "", /empty/],
  ["a list", [], "", /not an object/],
  ["version 2", { ...good, version: 2 }, "/version", /whole number from 1 to 1/],
  ["root 0", { ...good, root: 0 }, "/root", /whole number/],
  ["root 1.5", { ...good, root: 1.5 }, "/root", /whole number/],
  ["a repository that is a URL", { ...good, repository: "https://x/y" }, "/repository", /is not a name/],
  ["an unknown key", { ...good, insecure: true }, "/insecure", /not known here/],
  ["no roles", { ...good, roles: undefined }, "", /has no "roles"/],
  ["a threshold of 0", withRoles({ policy: { ...policy, threshold: 0 } }), "/roles/policy/threshold", /from 1 to 3/],
  [
    "a negative threshold",
    withRoles({ policy: { ...policy, threshold: -1 } }),
    "/roles/policy/threshold",
    /from 1 to 3/,
  ],
  [
    "a threshold of 1.5",
    withRoles({ policy: { ...policy, threshold: 1.5 } }),
    "/roles/policy/threshold",
    /from 1 to 3/,
  ],
  [
    'a threshold of "1"',
    withRoles({ policy: { ...policy, threshold: "1" } }),
    "/roles/policy/threshold",
    /from 1 to 3/,
  ],
  [
    "a threshold above the number of people",
    withRoles({ policy: { ...policy, threshold: 4 } }),
    "/roles/policy/threshold",
    /from 1 to 3/,
  ],
  [
    "a role root with a threshold of 0",
    withRoles({ root: { ...policy, threshold: 0 } }),
    "/roles/root/threshold",
    /from 1 to 3/,
  ],
  [
    "a role without principals",
    withRoles({ policy: { principals: [], threshold: 1 } }),
    "/roles/policy/principals",
    /0 entries/,
  ],
  [
    "somebody twice in a role",
    withRoles({ policy: { principals: ["alice", "alice"], threshold: 2 } }),
    "/roles/policy/principals/1",
    /stands twice/,
  ],
  [
    "somebody unknown in a role",
    withRoles({ policy: { principals: ["mallory"], threshold: 1 } }),
    "/roles/policy/principals/0",
    /no principal "mallory"/,
  ],
  [
    "a bad role freshness",
    withRoles({ freshness: { principals: ["bob"], threshold: 2 } }),
    "/roles/freshness/threshold",
    /from 1 to 1/,
  ],
  ["a role freshness that is null", withRoles({ freshness: null }), "/roles/freshness", /not an object/],
  ["an unknown role", withRoles({ admin: policy }), "/roles/admin", /not known here/],
  ["no principals", { ...good, principals: {} }, "/principals", /0 entries/],
  ["a principal without keys", withPrincipals({ alice: { keys: [] } }), "/principals/alice/keys", /0 entries/],
  [
    "a principal with a path as its name",
    withPrincipals({ "../alice": { keys: [alice] } }),
    "/principals/..~1alice",
    /is not a name of 1 to 64/,
  ],
  [
    "a principal with capitals",
    withPrincipals({ Dave: { keys: [makeSigner().publicLine] } }),
    "/principals/Dave",
    /lower-case/,
  ],
  [
    "a principal of 65 letters",
    withPrincipals({ ["d".repeat(65)]: { keys: [makeSigner().publicLine] } }),
    `/principals/${"d".repeat(65)}`,
    /1 to 64/,
  ],
  [
    "one key for two people",
    withPrincipals({ dave: { keys: [alice] } }),
    "/principals/dave/keys/0",
    /stands here and at the principal "alice"/,
  ],
  [
    "one key with another comment for two people",
    withPrincipals({ dave: { keys: [`${alice} dave@laptop`] } }),
    "/principals/dave/keys/0",
    /and at the principal "alice"/,
  ],
  [
    "one key twice for one person",
    withPrincipals({ alice: { keys: [alice, alice] } }),
    "/principals/alice/keys/1",
    /and at the principal "alice"/,
  ],
  [
    "a key type that is not known",
    withPrincipals({ dave: { keys: ["ssh-dss AAAA"] } }),
    "/principals/dave/keys/0",
    /the key is refused: /,
  ],
  [
    "a key with options",
    withPrincipals({ dave: { keys: [`cert-authority ${bob}`] } }),
    "/principals/dave/keys/0",
    /the key is refused/,
  ],
  ["a key that is a number", withPrincipals({ dave: { keys: [7] } }), "/principals/dave/keys/0", /not a line/],
];

describe("refused when it is read, with the place", () => {
  test.each(rows)("%s", (_what, value, pointer, message) => {
    const result = parse(value);
    expect(result.ok ? [] : result.issues).toContainEqual(
      expect.objectContaining({
        message: expect.stringMatching(message),
        place: expect.objectContaining({ file: "trust/1.json", pointer }),
      }),
    );
  });
  test("the same key twice in an object, of which a reader sees the first and a parser takes the last", () => {
    const text = JSON.stringify(good).replace('"threshold":2', '"threshold":2,"threshold":1');
    expect(parse(text)).toMatchObject({ ok: false, issues: [{ message: expect.stringMatching(/stands twice/) }] });
  });
  test.each(["__proto__", "constructor"])("a role for %s, who is nobody", (name) => {
    const text = JSON.stringify(good).replace('"principals":["alice"', `"principals":["${name}"`);
    expect(parse(text).ok).toBe(false);
  });
  test("a byte order mark", () => {
    expect(parse(`\ufeff${JSON.stringify(good)}`)).toMatchObject({ ok: false });
  });
  test("more than 256 KiB", () => {
    expect(parse(JSON.stringify(good) + " ".repeat(256 * 1024))).toMatchObject({ ok: false });
  });
});

describe("OpenPGP keys", () => {
  /** A version 4 packet of a public key, as far as a fingerprint needs it. */
  const packet = (tag: number, body: Buffer): Buffer =>
    Buffer.concat([Buffer.of(0x80 | (tag << 2), body.length), body]);
  const body = Buffer.from("0400000000fe", "hex");
  const withOpenPgp = (...keys: readonly (Buffer | string)[]) => {
    const openpgp = keys.map((key) => key.toString("base64"));
    return withPrincipals({ alice: { keys: [alice], openpgp } });
  };
  test("are read with their fingerprint", () => {
    // The fingerprint of RFC 9580 §5.5.4.2: SHA-1 over 0x99, the length in two bytes and the packet's body.
    const fingerprint = createHash("sha1")
      .update(Buffer.from("990006", "hex"))
      .update(body)
      .digest("hex")
      .toUpperCase();
    expect(parse(withOpenPgp(packet(6, body)))).toMatchObject({
      ok: true,
      root: { principals: [{ openpgp: [{ fingerprint }] }, { openpgp: [] }, { openpgp: [] }] },
    });
  });
  test.each([
    ["a private key", [packet(5, body)], /private key/],
    ["a public key with a private one behind it", [Buffer.concat([packet(6, body), packet(7, body)])], /private key/],
    ["two keys in one", [Buffer.concat([packet(6, body), packet(6, body)])], /more than one primary/],
    ["something else first", [packet(13, body)], /begin with a public key/],
    ["version 3", [packet(6, Buffer.from("0300", "hex"))], /version 3/],
    ["no packets", [Buffer.from("hello")], /not a sequence of OpenPGP packets/],
    ["half a packet", [packet(6, body).subarray(0, 4)], /ends within a packet/],
    ["an indefinite length", [Buffer.of(0x9b, 4)], /no definite length/],
    ["the same key twice", [packet(6, body), packet(6, body)], /stands here and at the principal "alice"/],
  ])("%s is refused", (_, keys, why) => {
    const result = parse(withOpenPgp(...keys));
    expect(result.ok ? "" : result.issues.map(({ message }) => message).join("\n")).toMatch(why);
  });
});
