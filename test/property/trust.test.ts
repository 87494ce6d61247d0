import fc from "fast-check";
import { expect, test } from "vitest";
import { digestOf, type Lock, refusePath, renderLock } from "../../agent/trust/lock.ts";
import { nextLock } from "../../agent/trust/next-lock.ts";
import { parseLock } from "../../agent/trust/parse-lock.ts";
import { parseRoot } from "../../agent/trust/parse-root.ts";
import {
  checkAdvance,
  chooseSlot,
  decodeSlot,
  emptyPointers,
  encodeSlot,
  type VerifiedPointer,
} from "../../agent/trust/pointers.ts";
import { parsePublicKey } from "../../agent/trust/ssh-key.ts";
import { verifySshsig } from "../../agent/trust/sshsig.ts";
import { verifyManifest } from "../../agent/trust/verify-approval.ts";
import { armor, unarmor } from "../support/ssh-keys.ts";
import { judge, makeRoot, makeSigner, rootJson, type Signer } from "../support/trust.ts";

const bytes = fc.uint8Array({ maxLength: 400 }).map((array) => Buffer.from(array));
const path = fc.stringMatching(/^[a-z0-9_]{1,8}(?:\/[a-z0-9_]{1,8}){0,2}\.json$/);
const digest = fc.stringMatching(/^[0-9a-f]{64}$/);
const lockOf: fc.Arbitrary<Lock> = fc.record({
  version: fc.constant(1 as const),
  repository: fc.stringMatching(/^[a-z0-9]{1,10}$/),
  branch: fc.constantFrom("main", "release/2", "x.y"),
  group: fc.constantFrom("default", "lab"),
  serial: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  files: fc.dictionary(path, digest, { minKeys: 1, maxKeys: 8 }),
});

test("no bytes make a parser throw anything, or accept them by accident", () => {
  const signer = makeSigner();
  const key = parsePublicKey(signer.publicLine);
  if (!key.ok) throw new Error(key.why);
  const message = Buffer.from("m");
  const keys = [key.value];
  fc.assert(
    fc.property(bytes, (input) => {
      expect(verifySshsig({ armored: input, message, namespace: "n", keys }).ok).toBe(false);
      expect(verifySshsig({ armored: armor(input), message, namespace: "n", keys }).ok).toBe(false);
      expect(
        verifySshsig({
          armored: armor(Buffer.concat([Buffer.from("SSHSIG\0\0\0\x01"), input])),
          message,
          namespace: "n",
          keys,
        }).ok,
      ).toBe(false);
      expect(parsePublicKey(input.toString("latin1")).ok).toBe(false);
      expect(parsePublicKey(`ssh-rsa ${input.toString("base64")}`).ok).toBe(false);
      expect(parseLock(input).ok).toBe(false);
      expect(parseRoot(input, "x").ok).toBe(false);
      expect(decodeSlot("verified", input)).toBeNull();
    }),
  );
});

test("a signature with any bytes exchanged for others does not verify", () => {
  const signer = makeSigner();
  const key = parsePublicKey(signer.publicLine);
  if (!key.ok) throw new Error(key.why);
  const message = Buffer.from("m");
  const blob = unarmor(signer.sign(message));
  fc.assert(
    fc.property(fc.nat(blob.length - 1), fc.uint8Array({ minLength: 1, maxLength: 8 }), (offset, patch) => {
      const changed = Buffer.from(blob);
      changed.set(patch.subarray(0, blob.length - offset), offset);
      const result = verifySshsig({
        armored: armor(changed),
        message,
        namespace: "clawgress-policy@v1",
        keys: [key.value],
      });
      expect(result.ok).toBe(changed.equals(blob));
    }),
  );
});

test("a lock is read as it was written, in one spelling whatever order it was made in", () => {
  fc.assert(
    fc.property(lockOf, (lock) => {
      fc.pre(
        new Set(Object.keys(lock.files).map((name) => name.toLowerCase())).size === Object.keys(lock.files).length,
      );
      fc.pre(Object.keys(lock.files).every((name) => refusePath(name) === null));
      const rendered = renderLock(lock);
      expect(parseLock(rendered)).toEqual({ ok: true, lock });
      const reversed = Object.fromEntries(Object.entries(lock.files).reverse());
      expect(renderLock({ ...lock, files: reversed })).toEqual(rendered);
    }),
  );
});

test("a lock with any single byte changed is another lock or none, and no approval holds for it", () => {
  const [alice, bob] = [makeSigner(), makeSigner()];
  const root = makeRoot(rootJson({ alice: [alice.publicLine], bob: [bob.publicLine] }, 2));
  const files = { "policy.json": digestOf(Buffer.from("p")) };
  const target = { repository: "egress", branch: "main", group: "default" };
  const lockBytes = renderLock({ version: 1, ...target, serial: 7, files });
  const signatures = new Map([
    ["alice", alice.sign(lockBytes)],
    ["bob", bob.sign(lockBytes)],
  ]);
  const verdict = (candidate: Buffer) =>
    verifyManifest({
      ...{ root, lockBytes: candidate, expected: target, verified: emptyPointers.verified, ...judge },
      ...{ files: new Map(Object.entries(files)), signatures, insecure: false },
    });
  expect(verdict(lockBytes).ok).toBe(true);
  fc.assert(
    fc.property(fc.nat(lockBytes.length - 1), fc.integer({ min: 1, max: 255 }), (offset, mask) => {
      const changed = Buffer.from(lockBytes);
      changed.writeUInt8(changed.readUInt8(offset) ^ mask, offset);
      expect(verdict(changed).ok).toBe(false);
    }),
  );
});

type Offer = "none" | "own" | "second" | "of the next" | "wrong namespace" | "garbage";
interface Person {
  readonly name: string;
  readonly signer: Signer;
  readonly second: Signer;
}

/** What lies in the file of one person. */
function offer(kind: Offer, people: readonly Person[], index: number, message: Buffer): Buffer | null {
  const person = people[index];
  const next = people[(index + 1) % people.length];
  if (person === undefined || next === undefined) throw new Error("no such person");
  const files: { readonly [one in Offer]: Buffer | null } = {
    none: null,
    own: person.signer.sign(message),
    second: person.second.sign(message),
    "of the next": next.signer.sign(message),
    "wrong namespace": person.signer.sign(message, "git"),
    garbage: Buffer.from("x"),
  };
  return files[kind];
}

test("it holds exactly when enough different people signed, whoever else left files", () => {
  const people = Array.from({ length: 5 }, (_, index) => ({
    name: `p${index}`,
    signer: makeSigner(),
    second: makeSigner(),
  }));
  const keys = Object.fromEntries(
    people.map(({ name, signer, second }) => [name, [signer.publicLine, second.publicLine]]),
  );
  const files = { "policy.json": digestOf(Buffer.from("p")) };
  const target = { repository: "egress", branch: "main", group: "default" };
  const lockBytes = renderLock({ version: 1, ...target, serial: 7, files });
  const roots = [1, 2, 3, 4, 5].map((threshold) => makeRoot(rootJson(keys, threshold)));
  const kinds: readonly Offer[] = ["none", "own", "second", "of the next", "wrong namespace", "garbage"];
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.constantFrom(...kinds), { minLength: 5, maxLength: 5 }),
      (threshold, chosen) => {
        const root = roots[threshold - 1];
        if (root === undefined) throw new Error("no root");
        const offered = chosen.map((kind, index) => [`p${index}`, offer(kind, people, index, lockBytes)] as const);
        const signatures = new Map(offered.flatMap(([name, file]) => (file === null ? [] : [[name, file] as const])));
        const good = chosen.flatMap((kind, index) => (kind === "own" || kind === "second" ? [`p${index}`] : []));
        const result = verifyManifest({
          ...{ root, lockBytes, expected: target, verified: emptyPointers.verified, ...judge },
          ...{ files: new Map(Object.entries(files)), signatures, insecure: false },
        });
        if (good.length >= threshold) expect(result).toMatchObject({ ok: true, approvedBy: good });
        else
          expect(result).toMatchObject({
            ok: false,
            code: "TRUST_UNSIGNED",
            counted: good,
            missing: threshold - good.length,
          });
      },
    ),
    { numRuns: 60 },
  );
});

test("whatever is offered in whatever order, the verified serial only rises", () => {
  const pointer: fc.Arbitrary<VerifiedPointer> = fc.record({
    root: fc.integer({ min: 0, max: 3 }),
    rootDigest: fc.constant("ff".repeat(32)),
    serial: fc.integer({ min: 0, max: 5 }),
    lockDigest: fc.constantFrom("aa".repeat(32), "bb".repeat(32)),
    commit: fc.constant(null),
    at: fc.constant(null),
    parts: fc.constant({}),
    freshAt: fc.constant(null),
    freshUntil: fc.constant(null),
  });
  fc.assert(
    fc.property(fc.array(pointer, { maxLength: 30 }), (offers) => {
      let current: VerifiedPointer = emptyPointers.verified;
      const digests = new Map<number, string | null>();
      for (const offer of offers) {
        if (!checkAdvance(current, offer).ok) continue;
        expect(offer.serial).toBeGreaterThanOrEqual(current.serial);
        expect(offer.root).toBeGreaterThanOrEqual(current.root);
        const known = digests.get(offer.serial);
        expect(known === undefined || known === offer.lockDigest).toBe(true);
        digests.set(offer.serial, offer.lockDigest);
        current = offer;
      }
    }),
  );
});

test("a write that is torn at any byte of either slot never loses the state before it", () => {
  const pointerAt = (serial: number): VerifiedPointer => ({
    ...emptyPointers.verified,
    root: 1,
    serial,
    lockDigest: "ab".repeat(32),
  });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1000 }), fc.nat(600), fc.boolean(), (sequence, cut, second) => {
      const before = encodeSlot("verified", { sequence, pointer: pointerAt(sequence) });
      const after = encodeSlot("verified", { sequence: sequence + 1, pointer: pointerAt(sequence + 1) });
      const torn = after.subarray(0, cut);
      // First the older slot is replaced, then the other: either may be the torn one.
      const choice = chooseSlot("verified", second ? { a: after, b: torn } : { a: torn, b: before });
      const expected = second || cut >= after.length ? sequence + 1 : sequence;
      expect(choice).toMatchObject({ ok: true, slot: { sequence: expected } });
    }),
  );
});

test("the next lock is above the branch, or one that is there already", () => {
  fc.assert(
    fc.property(
      fc.option(lockOf),
      fc.option(lockOf),
      lockOf,
      fc.option(fc.integer({ min: 1, max: 20 })),
      (base, current, wanted, serial) => {
        const { repository, branch, group, files } = wanted;
        const next = nextLock({
          part: null,
          serials: null,
          base,
          current,
          target: { repository, branch, group },
          files,
          serial,
        });
        if (!next.ok) {
          expect((serial ?? 0) <= (base?.serial ?? 0)).toBe(true);
          return;
        }
        expect(next.lock).toMatchObject({ repository, branch, group, files });
        if (next.kept) expect([base, current]).toContain(next.lock);
        else expect(next.lock.serial).toBe(serial ?? (base?.serial ?? 0) + 1);
        expect(next.lock.serial).toBeGreaterThanOrEqual(base?.serial ?? 1);
      },
    ),
  );
});
