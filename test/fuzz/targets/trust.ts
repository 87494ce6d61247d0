import { decodeEvidence, encodeEvidence } from "../../../agent/trust/evidence.ts";
import { parseFresh, renderFresh } from "../../../agent/trust/freshness.ts";
import { digestOf, renderLock } from "../../../agent/trust/lock.ts";
import { parseLock } from "../../../agent/trust/parse-lock.ts";
import { parseRoot } from "../../../agent/trust/parse-root.ts";
import { chooseSlot, decodeSlot, emptyPointers, encodeSlot } from "../../../agent/trust/pointers.ts";
import { parseRecovery, renderRecovery } from "../../../agent/trust/recovery.ts";
import { parseCertificate } from "../../../agent/trust/ssh-certificate.ts";
import { parsePublicKey, type SshPublicKey } from "../../../agent/trust/ssh-key.ts";
import { attempt, decodeBase64 } from "../../../agent/trust/ssh-wire.ts";
import { verifySshsig } from "../../../agent/trust/sshsig.ts";
import { unarmor } from "../../support/ssh-keys.ts";
import { makeSigner, rootJson } from "../../support/trust.ts";
import type { FuzzTarget } from "../target.ts";

const lockOf = (files: object, more: object = {}): Buffer =>
  renderLock({
    ...{ version: 1, repository: "egress", branch: "main", group: "default", serial: 7, ...more },
    files: files as { [path: string]: string },
  });
const digest = "ab".repeat(32);

/** Locks: what is accepted has no other spelling. */
const lock: FuzzTarget = {
  name: "lock",
  seedCorpus: () => [
    lockOf({ "policy.json": digest }),
    lockOf({ "a/b.json": digest, "policy.json": digest }, { part: "payments", serial: Number.MAX_SAFE_INTEGER }),
    Buffer.from('{"version":1,"repository":"x","__proto__":{},"files":{"../x":"y"}}'),
  ],
  run: (bytes) => {
    const parsed = parseLock(bytes);
    if (!parsed.ok) return parsed.issues[0]?.message;
    if (!renderLock(parsed.lock).equals(bytes)) throw new Error("a lock with two spellings");
    return "lock";
  },
};

const [alice, bob] = [makeSigner(), makeSigner()];
const rootText = (changes: object = {}): Buffer =>
  Buffer.from(
    JSON.stringify({ ...rootJson({ alice: [alice.publicLine], bob: [bob.publicLine] }, 2), ...changes }, null, 1),
  );

/** Roots: no role is accepted that nobody or not enough people could fill. */
const root: FuzzTarget = {
  name: "root",
  seedCorpus: () => [
    rootText(),
    rootText({
      rules: [
        {
          name: "a",
          files: ["x/*"],
          hosts: ["h-*"],
          sources: ["10.0.0.0/8"],
          lock: true,
          principals: ["bob"],
          threshold: 1,
          tighten: 1,
        },
      ],
      serials: { void: 100, restart: 7 },
    }),
    rootText({
      authorities: { corp: makeSigner().publicLine },
      principals: {
        alice: { keys: [{ key: alice.publicLine, expires: "2027-01-01T00:00:00Z" }] },
        bob: { certificates: [{ authority: "corp", identity: "bob@example.com" }] },
      },
      revoked: [`SHA256:${"a".repeat(43)}`],
    }),
  ],
  run: (bytes) => {
    const parsed = parseRoot(bytes, "trust/1.json");
    if (!parsed.ok) return parsed.issues[0]?.message;
    const { roles, rules, principals } = parsed.root;
    for (const role of [roles.policy, roles.root, ...rules]) {
      const known = role.principals.every((name) => principals.some((principal) => principal.name === name));
      const isSound = role.tighten >= 1 && role.tighten <= role.threshold && role.threshold <= role.principals.length;
      if (!known || !isSound) throw new Error("a role that cannot be filled, or is filled by nobody");
    }
    return `root with ${rules.length} rules`;
  },
};

const message = Buffer.from("message");
const good = alice.sign(message);
const keyOf = (line: string): SshPublicKey => {
  const parsed = parsePublicKey(line);
  if (!parsed.ok) throw new Error(parsed.why);
  return parsed.value;
};

/** Signatures: nothing but the one that was made is one. */
const signature: FuzzTarget = {
  name: "signature",
  seedCorpus: () => [good, bob.sign(message), alice.sign(message, "git"), Buffer.from("untrusted comment: x\nAAAA\n")],
  run: (bytes) => {
    const keys = [keyOf(alice.publicLine)];
    const result = verifySshsig({ armored: bytes, message, namespace: "clawgress-policy@v1", keys });
    if (!result.ok) return result.why;
    const whole = bytes.at(-1) === 0x0a ? bytes : Buffer.concat([bytes, Buffer.from("\n")]);
    if (!unarmor(whole).equals(unarmor(good))) throw new Error("a signature that nobody made");
    return "good";
  },
};

/** A certificate of ssh-keygen, for bob@example.com by an authority, valid in 2026. */
const certificate: FuzzTarget = {
  name: "certificate",
  seedCorpus: () => [
    decodeBase64(CERTIFICATE, "the certificate"),
    Buffer.from(alice.publicLine.split(" ")[1] ?? "", "base64"),
  ],
  run: (bytes) => {
    const result = attempt(() => parseCertificate(bytes));
    if (!result.ok) return result.why;
    if (!bytes.equals(decodeBase64(CERTIFICATE, "the certificate"))) throw new Error("a certificate that nobody made");
    return "certificate";
  },
};

/** Public keys in one line. */
const publicKey: FuzzTarget = {
  name: "public key",
  seedCorpus: () => [Buffer.from(alice.publicLine), Buffer.from(`${RSA_KEY} comment`), Buffer.from(ECDSA_KEY)],
  run: (bytes) => {
    const parsed = parsePublicKey(bytes.toString("latin1"));
    return parsed.ok ? parsed.value.algorithm : parsed.why;
  },
};

/** Statements of freshness and requests to recover. */
const statements: FuzzTarget = {
  name: "statements",
  seedCorpus: () => [
    renderFresh({
      repository: "egress",
      branch: "main",
      group: "default",
      serial: 7,
      validUntilMs: Date.parse("2027-01-01T00:00:00Z"),
    }),
    renderRecovery({ gateway: "gw", repository: "egress", root: 1, above: 41, parts: { payments: 3 }, nonce: digest }),
  ],
  run: (bytes) => {
    const [fresh, recovery] = [parseFresh(bytes), parseRecovery(bytes)];
    if (fresh.ok && recovery.ok) throw new Error("one text with two meanings");
    return fresh.ok ? "fresh" : recovery.ok ? "recovery" : `${fresh.why} ${recovery.why}`;
  },
};

const slot = encodeSlot("verified", { sequence: 3, pointer: emptyPointers.verified });
const evidence = encodeEvidence({
  lockDigest: digestOf(lockOf({ "policy.json": digest })),
  part: null,
  lockBytes: lockOf({ "policy.json": digest }),
  needs: [{ rule: "policy", tightens: false }],
  signatures: new Map([["alice", { bytes: good, seenAtMs: Date.parse("2026-11-26T00:00:00Z") }]]),
});

/** What lies on the disk: a slot is exactly what was written, or damaged. */
const state: FuzzTarget = {
  name: "state",
  seedCorpus: () => [slot, encodeSlot("confirmed", { sequence: 1, pointer: emptyPointers.confirmed }), evidence],
  run: (bytes) => {
    const decoded = decodeSlot("verified", bytes);
    if (decoded !== null && !encodeSlot("verified", decoded).equals(bytes))
      throw new Error("a slot with two spellings");
    const choice = chooseSlot("verified", { a: bytes, b: slot });
    const kept = decodeEvidence(bytes, digestOf(lockOf({ "policy.json": digest })));
    return `${decoded === null} ${choice.ok} ${kept === null}`;
  },
};

const CERTIFICATE =
  "AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIFw1UvFqv9h8wYb+mmU46PXuBVbVvtc3c4llD36ADrmWAAAAILjsMTX9y7rUF+ugvFHn+T0yeAr+JbxiHiiGtGF0qNaoAAAAAAAAAAAAAAABAAAABWFuIGlkAAAAEwAAAA9ib2JAZXhhbXBsZS5jb20AAAAAaVW5AAAAAABrNuyAAAAAAAAAAIIAAAAVcGVybWl0LVgxMS1mb3J3YXJkaW5nAAAAAAAAABdwZXJtaXQtYWdlbnQtZm9yd2FyZGluZwAAAAAAAAAWcGVybWl0LXBvcnQtZm9yd2FyZGluZwAAAAAAAAAKcGVybWl0LXB0eQAAAAAAAAAOcGVybWl0LXVzZXItcmMAAAAAAAAAAAAAADMAAAALc3NoLWVkMjU1MTkAAAAg58fxRk0RfZ3sknfkDUMnNkgx5RdnkPL4nPB1gNMA8oQAAABTAAAAC3NzaC1lZDI1NTE5AAAAQEJ2HDbwUjiyPd19fKTWnpA5eXvtcmpxqVbH2tWLl4BBaNv7iugdi629G726/GIhniynmOLHN2niR3FaQbOu1gs=";
const RSA_KEY =
  "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDRONVYY4CuIAdIXdODh49I6LhjcyEJ+vTjQW7BV2i5m3Ze97V4P7R9Ljp1vpLl5loyFJ5SUG0z2CVNsPmpJZEyQH6paRS0Vu0v3B84GFD0RDdJxWk5WSa56NA5l2n965xsUMHJ3XACWTtwwQnIYy3GuBuC9hrUh4FCKizD8ORi3QVnTkz5iR5pL9Z1F+N5LnlW29sHSeu/xJdI3EctZ8L61V/tfx3X/A04wTarEpYiD43/Khp0yVlftJgbOJZknCQiY4mZT+BRgHGmx3aNmIguNmEPCpStdz0Zkpn/OVZIAwjHEE5EPCnYg142pMizMCTPrxvo71sTDsScjGIxQmJL";
const ECDSA_KEY =
  "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBAyyd9Ud7F05zk7nVLhzX4PqKXyscQ780PZz5jeWJ74MFRicJ9Zb7vS8xM5rcH22bXCNTyu4SFIVHiBnKDSZK1Q=";

export const trustTargets: readonly FuzzTarget[] = [lock, root, signature, certificate, publicKey, statements, state];
