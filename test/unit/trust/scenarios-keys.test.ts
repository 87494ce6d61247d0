import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import type { Agent } from "../../../agent/agent.ts";
import { loadRoot } from "../../../agent/commands/load-root.ts";
import { initialisePointers } from "../../../agent/host/pointer-store.ts";
import { readRevokedFile } from "../../../agent/host/revoked-file.ts";
import { parseSettings } from "../../../agent/settings/parse-settings.ts";
import { openAgent } from "../../../agent/start.ts";
import { approvalPath } from "../../../agent/trust/approvals.ts";
import { digestOf } from "../../../agent/trust/lock.ts";
import { parseRoot } from "../../../agent/trust/parse-root.ts";
import { fingerprintOf } from "../../../agent/trust/ssh-key.ts";
import { type MemoryRepository, makeRepository } from "../../support/memory-repository.ts";
import { makeFolder, makeSecurityKey, makeSshKey, sshSign } from "../../support/ssh-keys.ts";
import { makeSigner, rootJson, type Signer } from "../../support/trust.ts";
import { type GatewayOptions, makeTrustGateway, type TrustGateway } from "../../support/trust-gateway.ts";

/** What a gateway makes of keys that are stolen, revoked, expired or used for something else, by the list of attacks. */

const [alice, bob, carol, mallory] = [makeSigner(), makeSigner(), makeSigner(), makeSigner()];
const keys = { alice: [alice.publicLine], bob: [bob.publicLine], carol: [carol.publicLine] };
const json = rootJson(keys, 2);
const both = { alice, bob };
const { folder, remove } = makeFolder();
afterAll(remove);

let repository: MemoryRepository;
let gateways = 0;
const makeGateway = async (root: object, options: Partial<GatewayOptions> = {}): Promise<TrustGateway> => {
  gateways += 1;
  const own = join(folder, String(gateways));
  mkdirSync(own);
  return await makeTrustGateway({ folder: own, root: repository.writeRoot(root as { root: number }), ...options });
};
const fingerprint = ({ publicLine }: { readonly publicLine: string }): string =>
  fingerprintOf(Buffer.from(publicLine.split(" ")[1] ?? "", "base64"));

beforeEach(() => {
  repository = makeRepository();
  repository.writePolicy({ version: 1, allow: { domains: ["a.example.com"], ports: [443] } });
});

/** Why a root is refused, or `accepted`. */
function judgeRoot(value: object): string {
  const result = parseRoot(Buffer.from(JSON.stringify(value)), "trust/1.json");
  return result.ok ? "accepted" : result.issues.map(({ message }) => message).join("; ");
}

describe("GB1, WG1: a key is revoked while the head stays", () => {
  test("by the gateway's own list: what is enforced is judged again at once, without any commit", async () => {
    const revokedFile = join(folder, "revoked");
    writeFileSync(revokedFile, "# nobody yet\n");
    const gateway = await makeGateway(json, { trust: { revokedFile, whenRevoked: "deny-all" } });
    repository.writeLock(1, { signers: both });
    await gateway.enforce(repository.commit());
    expect(await gateway.look()).toMatchObject({ alarms: [], narrowing: "keep" });
    writeFileSync(revokedFile, `${fingerprint(bob)} bob's laptop was stolen # on Monday\n`);
    // What is in force has no artifacts on this disk, so nothing can be narrowed; that it should be is what counts here.
    expect(await gateway.look()).toMatchObject({
      narrowing: "deny-all",
      alarms: [
        {
          code: "TRUST_REVOKED",
          message: expect.stringMatching(
            /approved by alice now; 1 of 2 approvals are missing; .*bob\.sig does not count: SHA256:\S+ is revoked/,
          ),
        },
      ],
    });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "TRUST_UNSIGNED" });
    repository.writeLock(1, { signers: { carol } });
    expect(await gateway.enforce(repository.commit())).toMatchObject({
      code: "approved",
      approvedBy: ["alice", "carol"],
    });
    expect(await gateway.look()).toMatchObject({ alarms: [], narrowing: "keep" });
    expect(gateway.log).toContainEqual(expect.objectContaining({ event: "trust-alarm-over" }));
  });
  test("by the next root, which comes with a commit whose lock is the same", async () => {
    const gateway = await makeGateway(json);
    repository.writeLock(1, { signers: both });
    await gateway.enforce(repository.commit());
    const replaced = makeSigner();
    const next = { ...rootJson({ ...keys, bob: [replaced.publicLine] }, 2), root: 2, revoked: [fingerprint(bob)] };
    repository.writeRoot(next, { old: { alice, carol }, new: { alice, carol } });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "TRUST_UNSIGNED" });
    expect(await gateway.look()).toMatchObject({ root: 2, alarms: [{ code: "TRUST_REVOKED" }] });
  });
  test("a revoked key approves no root either", async () => {
    const revokedFile = join(folder, "revoked-2");
    writeFileSync(revokedFile, `${fingerprint(bob)}\n`);
    const gateway = await makeGateway(json, { trust: { revokedFile } });
    repository.writeRoot({ ...json, root: 2 }, { old: both, new: both });
    repository.writeLock(1, { signers: { alice, carol } });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "TRUST_ROOT_CHAIN" });
  });
  test("a list that cannot be read or understood lets nothing new pass", async () => {
    const revokedFile = join(folder, "revoked-3");
    const gateway = await makeGateway(json, { trust: { revokedFile } });
    repository.writeLock(1, { signers: both });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "HOST_FILE" });
    writeFileSync(revokedFile, `${fingerprint(bob)}\nMD5:aa:bb\n`);
    expect(await gateway.offer(repository.commit())).toMatchObject({
      code: "SETTINGS_INVALID",
      text: expect.stringMatching(/revoked-3:2: "MD5:aa:bb" is no fingerprint/),
    });
  });
});

describe("GB2: a key that ends, judged by when this gateway saw the signature first", () => {
  const expiring = (expires: string) => ({
    ...json,
    principals: { ...json.principals, bob: { keys: [{ key: bob.publicLine, expires }] } },
  });
  test("what was seen before the end counts for ever, what is seen after it never, whatever it claims", async () => {
    const gateway = await makeGateway(expiring("2026-12-01T00:00:00Z"));
    repository.writeLock(1, { signers: both });
    const head = repository.commit();
    expect(await gateway.enforce(head)).toMatchObject({ code: "approved" });
    gateway.pass(10 * 86_400_000);
    expect(await gateway.offer(head)).toMatchObject({ code: "approved" });
    expect(await gateway.look()).toMatchObject({ alarms: [] });
    // The same lock in another commit brings the same signatures, which were seen in time.
    repository.files.set("README.md", Buffer.from("x"));
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "approved" });
    repository.writeLock(2, { signers: both, paths: ["policy.json"] });
    expect(await gateway.offer(repository.commit())).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(
        /counts until 2026-12-01T00:00:00Z; this signature was first seen at 2026-12-06T00:00:00Z/,
      ),
    });
  });
  test("a signature added later to a lock that was seen in time is not in time", async () => {
    const gateway = await makeGateway(expiring("2026-12-01T00:00:00Z"));
    repository.writeLock(1, { signers: { alice, carol } });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "approved" });
    gateway.pass(10 * 86_400_000);
    for (const path of [...repository.files.keys()]) if (path.endsWith("carol.sig")) repository.files.delete(path);
    repository.writeLock(1, { signers: { bob } });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "TRUST_UNSIGNED" });
  });
  test("another signature of the same person does not take over the time of the first", async () => {
    const ended = makeSigner();
    const dated = [bob.publicLine, { key: ended.publicLine, expires: "2026-12-01T00:00:00Z" }];
    const gateway = await makeGateway({ ...json, principals: { ...json.principals, bob: { keys: dated } } });
    const lock = repository.writeLock(1, { signers: both });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "approved" });
    gateway.pass(10 * 86_400_000);
    repository.files.set(approvalPath(digestOf(lock), "bob"), ended.sign(lock));
    expect(await gateway.offer(repository.commit())).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(/first seen at 2026-12-06/),
    });
  });
  test("a commit that was seen in time but not approved yet is judged by that time when it comes again", async () => {
    const gateway = await makeGateway(expiring("2026-11-26T12:00:00Z"));
    repository.writeLock(1, { signers: both, paths: ["policy.json", "later.json"] });
    const head = repository.commit();
    expect(await gateway.offer(head)).toMatchObject({ code: "TRUST_LOCK_MISMATCH" });
    gateway.pass(86_400_000);
    expect(await gateway.offer(head)).toMatchObject({ code: "TRUST_LOCK_MISMATCH" });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "TRUST_UNSIGNED" });
  });
});

test("GB4: a signature for commits, for files or for roots is no approval", async () => {
  const gateway = await makeGateway(json);
  for (const namespace of ["git", "file", "clawgress-root@v1", "clawgress-fresh@v1", "clawgress-policy@v2", ""]) {
    repository.writeLock(1, { signers: both, namespace });
    expect(await gateway.offer(repository.commit())).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringContaining(`it is for the namespace "${namespace}", not clawgress-policy@v1`),
    });
  }
});

describe("GB5: approved for another place", () => {
  test.each([
    ["another repository", { repository: "other" }],
    ["another branch", { branch: "release" }],
    ["another group of gateways", { group: "lab" }],
    ["a part of it", { part: "payments" }],
  ])("%s", async (_what, changes) => {
    const gateway = await makeGateway(json);
    repository.writeLock(1, { signers: both, changes });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "TRUST_WRONG_TARGET" });
  });
  test("a gateway of another repository refuses the root as well", async () => {
    const gateway = await makeGateway(json, { name: "other" });
    repository.writeLock(1, { signers: both });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "TRUST_ROOT_INVALID" });
  });
});

describe("files and lock", () => {
  const evil = Buffer.from('{"version":1,"allow":{"domains":["*.example.com"]}}\n');
  const rows: readonly (readonly [string, () => void, RegExp])[] = [
    [
      "GB6: the policy is new, the lock is the old one",
      () => repository.files.set("policy.json", evil),
      /not the file that was approved/,
    ],
    [
      "GB7: a listed file is missing",
      () => repository.files.delete("more.json"),
      /"more.json" is listed in the lock but missing/,
    ],
    [
      "GB8: the approvals are of a lock over fewer files",
      () => repository.writeLock(1, { signers: both, paths: ["more.json"] }),
      /"policy.json" is not listed/,
    ],
  ];
  test.each(rows)("%s", async (_what, tamper, text) => {
    const gateway = await makeGateway(json);
    repository.files.set("more.json", Buffer.from("{}\n"));
    repository.writeLock(1, { signers: both });
    tamper();
    expect(await gateway.offer(repository.commit())).toMatchObject({
      code: "TRUST_LOCK_MISMATCH",
      text: expect.stringMatching(text),
    });
  });
  test("GB7: a file that no lock lists is not read", async () => {
    const gateway = await makeGateway(json);
    repository.writeLock(1, { signers: both });
    repository.files.set("extra.json", evil);
    const commit = repository.commit();
    const asked: string[] = [];
    const watched = {
      ...commit,
      readFile: (path: string, most: number) => commit.readFile(path, most).finally(() => asked.push(path)),
    };
    expect(await gateway.offer(watched)).toMatchObject({ code: "approved" });
    expect(asked).toContain("policy.json");
    expect(asked).not.toContain("extra.json");
  });
  test("GB21: another file under the same Git object names, as a collision of SHA-1 would give it", async () => {
    const gateway = await makeGateway(json);
    repository.writeLock(1, { signers: both });
    const good = repository.commit();
    expect(await gateway.offer(good)).toMatchObject({ code: "approved" });
    const twin = {
      ...good,
      readFile: async (path: string, most: number) => (path === "policy.json" ? evil : good.readFile(path, most)),
    };
    expect(await gateway.offer(twin)).toMatchObject({ code: "TRUST_LOCK_MISMATCH" });
  });
});

describe("GB10: what is weaker than it looks is refused when it is read", () => {
  const role = json.roles.policy;
  const rsa1024 =
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7NuJRJUZqgoFnJ7ECnFBX6DElaS0Rnpf7W4RAWKFO7UB+4PhGcnUINLOG0mbcq0ZJAv1eOXcUZ0gqgQtv8tvcYLvnYxMlt+aSP8yPkvWJkmzZ6sJ0tt0xJbLp5o7yJbPGGcXqzdSbjIaYcQBhXcLkKcMGlwm6ROPrbUFzTTBCqw==";
  test.each<[string, object, RegExp]>([
    [
      "a threshold of 0",
      { ...json, roles: { ...json.roles, policy: { ...role, threshold: 0 } } },
      /not a whole number from 1/,
    ],
    [
      "a threshold of 0 to tighten",
      { ...json, roles: { ...json.roles, policy: { ...role, tighten: 0 } } },
      /"tighten" is not a whole/,
    ],
    [
      "an empty list of signers",
      { ...json, roles: { ...json.roles, policy: { principals: [], threshold: 1 } } },
      /has 0 entries/,
    ],
    ["no principals", { ...json, principals: {} }, /has 0 entries/],
    ["a principal with nothing", { ...json, principals: { ...json.principals, bob: {} } }, /"bob" has no "keys"/],
    ["an unknown algorithm", rootJson({ alice: ["ssh-rot13 AAAA"] }, 1), /ssh-rot13: it is not supported/],
    ["DSA", rootJson({ alice: ["ssh-dss AAAA"] }, 1), /ssh-dss: it is not supported/],
    ["RSA of 1,024 bits", rootJson({ alice: [rsa1024] }, 1), /has 1024 bits; at least 2048/],
    ["only revoked keys", { ...json, revoked: [alice, bob].map(fingerprint) }, /not a whole number from 1 to 1/],
    [
      "all keys revoked",
      { ...json, revoked: [alice, bob, carol].map(fingerprint) },
      /every key of everybody here is revoked/,
    ],
    [
      "an authority that is somebody's key",
      { ...json, authorities: { corp: alice.publicLine } },
      /stands here and at the principal "authority corp"/,
    ],
  ])("%s", (_what, value, message) => {
    expect(judgeRoot(value)).toMatch(message);
  });
  test("a signature with SHA-1 inside", async () => {
    const gateway = await makeGateway(json);
    const lock = repository.writeLock(1, { signers: { alice } });
    const { armor, sshsigBlob, unarmor } = await import("../../support/ssh-keys.ts");
    const publicKey = Buffer.from(bob.publicLine.split(" ")[1] ?? "", "base64");
    const inner = unarmor(bob.sign(lock)).subarray(-87);
    const forged = armor(sshsigBlob({ publicKey, namespace: "clawgress-policy@v1", hash: "sha1", signature: inner }));
    repository.files.set(approvalPath(digestOf(lock), "bob"), forged);
    expect(await gateway.offer(repository.commit())).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(/the hash "sha1" is not sha256 or sha512/),
    });
  });
});

describe("GB11: lists of keys are read strictly, and what is wrong has a line", () => {
  const text = `${JSON.stringify(json, null, 2)}\n`;
  const line = alice.publicLine;
  test.each<[string, string, RegExp]>([
    ["a byte order mark", `\uFEFF${text}`, /1:1/],
    ["a tab in a key", text.replace(line, line.replace(" ", "\\t")), /trust\/1\.json:8:\d+/],
    ["a line feed in a key", text.replace(line, `${line}\\n`), /:8:/],
    ["options before a key", text.replace(line, `cert-authority ${line}`), /:8:.*not one line of the form/],
    ["a restriction before a key", text.replace(line, `namespaces=\\"git\\" ${line}`), /:8:/],
    ["a NUL", text.replace('"egress"', '"egress\\u0000"'), /:4:/],
    ["a wildcard for a principal", text.replaceAll('"bob"', '"*"'), /not a name/],
    ["the same key twice in the JSON", text.replace('"root": 1,', '"root": 1, "root": 1,'), /:3:/],
    ["allowed_signers of ssh-keygen", `alice@example.com namespaces="git" ${line}\n`, /1:1/],
  ])("%s", (_what, content, place) => {
    const result = parseRoot(Buffer.from(content), "trust/1.json");
    const issues = result.ok
      ? ["accepted"]
      : result.issues.map(({ place: at, message }) => `${at.file}:${at.line}:${at.column}: ${message}`);
    expect(issues.join("\n")).toMatch(place);
  });
  test("CRLF is white space in JSON and harmless; in an approval it is refused", async () => {
    expect(parseRoot(Buffer.from(text.replaceAll("\n", "\r\n")), "trust/1.json")).toMatchObject({ ok: true });
    const gateway = await makeGateway(json);
    const lock = repository.writeLock(1, { signers: both });
    const path = approvalPath(digestOf(lock), "bob");
    repository.files.set(path, Buffer.from((repository.files.get(path) ?? "").toString().replaceAll("\n", "\r\n")));
    expect(await gateway.offer(repository.commit())).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(/carriage returns/),
    });
  });
  test("the list of revoked keys: spaces, comments and CRLF are fine, a wrong line is named", async () => {
    const path = join(folder, "list");
    writeFileSync(path, `\r\n  ${fingerprint(alice)}   alice # gone\r\n#${fingerprint(bob)}\n`);
    expect([...(await readRevokedFile(path))]).toEqual([fingerprint(alice)]);
    writeFileSync(path, `\n\n${fingerprint(alice).slice(0, -1)}\n`);
    await expect(readRevokedFile(path)).rejects.toMatchObject({
      code: "SETTINGS_INVALID",
      message: expect.stringMatching(/list:3:/),
    });
  });
});

describe("formats that are not taken are refused in plain words", () => {
  const minisign =
    "untrusted comment: signature from minisign secret key\nRUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\ntrusted comment: timestamp:1633700835\tfile:test\tprehashed\nwLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==\n";
  const dsse = JSON.stringify({
    payload: "e30=",
    payloadType: "application/vnd.in-toto+json",
    signatures: [{ keyid: "x", sig: "AA==" }],
  });
  const bundle = JSON.stringify({
    mediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
    verificationMaterial: {},
    dsseEnvelope: {},
  });
  test.each([
    ["GB13: minisign", minisign, /a minisign or signify signature/],
    [
      "GB13: minisign, legacy, with another comment",
      minisign.replace("\tprehashed", "").replace("RUQ", "RWQ"),
      /a minisign/,
    ],
    ["GB14: a DSSE envelope", dsse, /a DSSE envelope or Sigstore bundle/],
    ["GB14: a DSSE envelope without signatures", dsse.replace(/\[\{.*\}\]/, "[]"), /a DSSE envelope/],
    ["GB14: a Sigstore bundle", bundle, /a DSSE envelope or Sigstore bundle/],
    ["OpenPGP", "-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n", /an OpenPGP signature/],
    ["CMS", "-----BEGIN CMS-----\nMIIB\n-----END CMS-----\n", /an X\.509 signature/],
    [
      "a private key",
      "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n",
      /a PRIVATE KEY, which must never/,
    ],
  ])("%s", async (_what, content, why) => {
    const gateway = await makeGateway(json);
    const lock = repository.writeLock(1, { signers: { alice } });
    repository.files.set(approvalPath(digestOf(lock), "bob"), Buffer.from(content));
    expect(await gateway.offer(repository.commit())).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(why),
    });
  });
});

describe("GB20, GB22: verification is never off by omission", () => {
  const paths = {
    pointers: join(folder, "gb22", "pointers"),
    git: join(folder, "gb22", "git"),
    clock: join(folder, "gb22", "clock.json"),
  };
  const log = { warn: () => {}, info: () => {} };
  const open = (root: string): Promise<Agent> =>
    openAgent(
      {
        trust: { root, insecure: false, revokedFile: null },
        lifeline: ["10.0.0.0/8"],
        report: { github: null },
      } as unknown as Parameters<typeof openAgent>[0],
      { paths } as unknown as Parameters<typeof openAgent>[1],
      log as unknown as Parameters<typeof openAgent>[2],
    );
  test("agent.json without a root of trust is refused", () => {
    const example = JSON.parse(readFileSync(new URL("../../../examples/agent.json", import.meta.url), "utf8")) as {
      trust: object;
    };
    expect(parseSettings(Buffer.from(JSON.stringify(example)), "agent.json").ok).toBe(true);
    const { trust: _trust, ...without } = example;
    for (const settings of [without, { ...without, trust: {} }, { ...without, trust: { insecure: false } }]) {
      expect(parseSettings(Buffer.from(JSON.stringify(settings)), "agent.json")).toMatchObject({ ok: false });
    }
  });
  test.each<[string, string | null, string]>([
    ["missing", null, "HOST_FILE"],
    ["empty", "", "TRUST_ROOT_INVALID"],
    ["cut off", JSON.stringify(json).slice(0, 200), "TRUST_ROOT_INVALID"],
    ["without people", JSON.stringify({ ...json, principals: {} }), "TRUST_ROOT_INVALID"],
  ])("a root of trust that is %s ends the start", async (what, content, code) => {
    const path = join(folder, `root-${what}.json`);
    if (content !== null) writeFileSync(path, content);
    if (what === "missing") await initialisePointers(paths.pointers, { gateway: "gw", repository: "egress" });
    await expect(open(path)).rejects.toMatchObject({ code });
    await expect(loadRoot(path)).rejects.toMatchObject({ code });
  });
});

describe("keys of every kind", () => {
  const own = join(folder, "keys");
  mkdirSync(own);
  const filesOf = (name: string, type: string, bits?: number): Signer => {
    const files = makeSshKey(own, name, type, bits);
    return {
      publicLine: files.publicLine,
      sign: (message, namespace = "clawgress-policy@v1") => sshSign(files, message, namespace),
    };
  };
  test.each<[string, () => Signer]>([
    ["Ed25519", () => filesOf("a", "ed25519")],
    ["ECDSA P-256", () => filesOf("b", "ecdsa", 256)],
    ["ECDSA P-384", () => filesOf("c", "ecdsa", 384)],
    ["ECDSA P-521", () => filesOf("d", "ecdsa", 521)],
    ["RSA of 2,048 bits", () => filesOf("e", "rsa", 2048)],
    ["a security key, touched", () => securityKey("ed25519", 1)],
    ["a security key of ECDSA, touched", () => securityKey("ecdsa", 5)],
  ])("%s approves", async (_what, make) => {
    const signer = make();
    const gateway = await makeGateway(rootJson({ alice: [signer.publicLine], bob: [bob.publicLine] }, 2));
    repository.writeLock(1, { signers: { alice: signer, bob } });
    expect(await gateway.offer(repository.commit())).toMatchObject({ code: "approved", approvedBy: ["alice", "bob"] });
  });
  test.each(["ed25519", "ecdsa"] as const)("a security key of %s that nobody touched does not", async (kind) => {
    const signer = securityKey(kind, 0);
    const gateway = await makeGateway(rootJson({ alice: [signer.publicLine], bob: [bob.publicLine] }, 2));
    repository.writeLock(1, { signers: { alice: signer, bob } });
    expect(await gateway.offer(repository.commit())).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(/was not touched/),
    });
  });
  function securityKey(kind: "ed25519" | "ecdsa", flags: number): Signer {
    const key = makeSecurityKey(kind);
    return {
      publicLine: key.publicLine,
      sign: (message, namespace = "clawgress-policy@v1") => key.sign(message, namespace, flags),
    };
  }
});

describe("certificates of a listed authority", () => {
  const own = join(folder, "certificates");
  mkdirSync(own);
  const [authority, other] = [makeSshKey(own, "authority"), makeSshKey(own, "other", "rsa", 2048)];
  let made = 0;
  /** A key of the type, certified by ssh-keygen with the options. */
  const certified = (options: readonly string[], by = authority, type = "ed25519"): Signer => {
    made += 1;
    const key = makeSshKey(own, `key${made}`, type);
    execFileSync("ssh-keygen", ["-q", "-s", by.path, "-I", "an id", ...options, `${key.path}.pub`]);
    const publicLine = readFileSync(`${key.path}-cert.pub`, "utf8").trim();
    return {
      publicLine,
      sign: (message, namespace = "clawgress-policy@v1") =>
        sshSign({ path: `${key.path}-cert.pub`, publicLine }, message, namespace),
    };
  };
  const root = (changes: object = {}) => ({
    ...json,
    authorities: { corp: authority.publicLine },
    principals: { ...json.principals, bob: { certificates: [{ authority: "corp", identity: "bob@example.com" }] } },
    ...changes,
  });
  const year = ["-V", "20260101000000Z:20270101000000Z"];
  const offer = async (signer: Signer, changes: object = {}) => {
    const gateway = await makeGateway(root(changes));
    repository.writeLock(1, { signers: { alice, bob: signer } });
    return { gateway, offered: await gateway.offer(repository.commit()) };
  };

  test.each(["ed25519", "ecdsa", "rsa"])("one for the right name and time counts, over a key of %s", async (type) => {
    const { offered } = await offer(certified(["-n", "x,bob@example.com", ...year], authority, type));
    expect(offered).toMatchObject({ code: "approved", approvedBy: ["alice", "bob"] });
  });
  const rows: readonly (readonly [string, () => Signer, RegExp])[] = [
    [
      "for another name",
      () => certified(["-n", "carol@example.com", ...year]),
      /for "carol@example.com" by SHA256:\S+, is not one that counts/,
    ],
    ["for no name, which is every name", () => certified(year), /names nobody/],
    ["by another authority", () => certified(["-n", "bob@example.com", ...year], other), /is not one that counts/],
    ["of a host", () => certified(["-h", "-n", "bob@example.com", ...year]), /a host's/],
    [
      "with a critical option",
      () => certified(["-n", "bob@example.com", "-O", "force-command=x", ...year]),
      /critical options/,
    ],
    [
      "not valid yet",
      () => certified(["-n", "bob@example.com", "-V", "20270101000000Z:20280101000000Z"]),
      /not valid yet/,
    ],
    [
      "not valid any more",
      () => certified(["-n", "bob@example.com", "-V", "20250101000000Z:20260101000000Z"]),
      /not valid any more; this signature was first seen at 2026-11-26/,
    ],
  ];
  test.each(rows)("one %s does not", async (_what, make, why) => {
    const { offered } = await offer(make());
    expect(offered).toMatchObject({ code: "TRUST_UNSIGNED", text: expect.stringMatching(why) });
  });
  test("the bare key of a certificate does not, nor a certificate with a byte changed", async () => {
    const signer = certified(["-n", "bob@example.com", ...year]);
    const bare: Signer = {
      ...signer,
      sign: (message) => sshSign({ path: join(own, `key${made}`), publicLine: "" }, message, "clawgress-policy@v1"),
    };
    expect((await offer(bare)).offered).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(/made with another key/),
    });
    const { armor, unarmor } = await import("../../support/ssh-keys.ts");
    const bent: Signer = {
      ...signer,
      sign: (message) => {
        const blob = unarmor(signer.sign(message));
        const at = blob.indexOf("bob@example.com");
        blob.write("eve", at);
        return armor(blob);
      },
    };
    expect((await offer(bent)).offered).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(/authority did not sign/),
    });
  });
  test("a revoked authority, key or certificate does not", async () => {
    const signer = certified(["-n", "bob@example.com", ...year]);
    const bare = readFileSync(join(own, `key${made}.pub`), "utf8");
    for (const line of [authority.publicLine, bare, signer.publicLine]) {
      const dead = fingerprint({ publicLine: line });
      const roles = {
        policy: { principals: ["alice", "bob", "carol"], threshold: 2 },
        root: { principals: ["alice", "carol"], threshold: 2 },
      };
      const { offered } = await offer(signer, { revoked: [dead], roles });
      expect(offered).toMatchObject({ code: "TRUST_UNSIGNED", text: expect.stringContaining(`${dead} is revoked`) });
    }
  });
  test("whoever has only certificates of a revoked authority cannot be asked to approve", () => {
    const role = { principals: ["alice", "bob"], threshold: 2 };
    const all = root({ roles: { policy: role, root: role } });
    expect(judgeRoot(all)).toBe("accepted");
    expect(judgeRoot({ ...all, revoked: [fingerprint(authority)] })).toMatch(/not a whole number from 1 to 1/);
  });
  test("two certificates of one person are one person", async () => {
    const gateway = await makeGateway(root());
    const [one, two] = [certified(["-n", "bob@example.com", ...year]), certified(["-n", "bob@example.com", ...year])];
    repository.writeLock(1, { signers: { bob: one, carol: two } });
    expect(await gateway.offer(repository.commit())).toMatchObject({
      code: "TRUST_UNSIGNED",
      text: expect.stringMatching(/approved by bob;/),
    });
  });
});

test("a stranger's signature beside good ones changes nothing", async () => {
  const gateway = await makeGateway(json);
  repository.writeLock(1, { signers: { ...both, carol: mallory, mallory } });
  expect(await gateway.offer(repository.commit())).toMatchObject({ code: "approved", approvedBy: ["alice", "bob"] });
});
