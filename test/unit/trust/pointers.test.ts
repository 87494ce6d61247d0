import { describe, expect, test } from "vitest";
import {
  checkAdvance,
  chooseSlot,
  decodeSlot,
  emptyPointers,
  encodeSlot,
  type VerifiedPointer,
} from "../../../agent/trust/pointers.ts";

const pointer: VerifiedPointer = {
  root: 1,
  rootDigest: "ef".repeat(32),
  serial: 7,
  lockDigest: "ab".repeat(32),
  commit: "cd".repeat(20),
  at: "2026-11-22T09:50:19.123Z",
  parts: { payments: { serial: 3, lockDigest: "12".repeat(32) } },
  freshAt: "2026-11-22T09:50:19Z",
  freshUntil: null,
};
const slot = (sequence: number, changes: Partial<VerifiedPointer> = {}) =>
  encodeSlot("verified", { sequence, pointer: { ...pointer, ...changes } });

describe("a slot", () => {
  test("is read as it was written", () => {
    expect(decodeSlot("verified", slot(3))).toEqual({ sequence: 3, pointer });
    const confirmed = encodeSlot("confirmed", { sequence: 1, pointer: emptyPointers.confirmed });
    expect(decodeSlot("confirmed", confirmed)).toEqual({ sequence: 1, pointer: emptyPointers.confirmed });
  });
  test("cut at any byte is damaged", () => {
    const bytes = slot(3);
    for (let length = 0; length < bytes.length; length += 1) {
      expect(decodeSlot("verified", bytes.subarray(0, length)), `${length} bytes`).toBeNull();
    }
  });
  test("with any bit flipped is damaged", () => {
    const bytes = slot(3);
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(decodeSlot("verified", changed), `bit ${bit}`).toBeNull();
    }
  });
  test("of one kind is no slot of the other", () => {
    expect(decodeSlot("confirmed", slot(3))).toBeNull();
    const confirmed = encodeSlot("confirmed", { sequence: 1, pointer: emptyPointers.confirmed });
    expect(decodeSlot("verified", confirmed)).toBeNull();
  });
  test.each([
    ["nothing", ""],
    ["null", "null\n"],
    ["a list", "[]\n"],
    ["zeros", "\0".repeat(300)],
    ["bytes after it", `${slot(3)}\n`],
  ])("that is %s is damaged", (_what, text) => {
    expect(decodeSlot("verified", Buffer.from(text))).toBeNull();
  });
  test.each([
    ["a sequence of 0", encodeSlot("verified", { sequence: 0, pointer })],
    ["a negative serial", slot(3, { serial: -1 })],
    ["a serial above 2^53", slot(3, { serial: 2 ** 53 })],
    ["a digest in capitals", slot(3, { lockDigest: "AB".repeat(32) })],
    ["a commit that is a path", slot(3, { commit: "../x" })],
    ["a time without zone", slot(3, { at: "2026-11-22T09:50:19" })],
  ])("with %s is refused although its checksum holds", (_what, bytes) => {
    expect(decodeSlot("verified", bytes)).toBeNull();
  });
});

describe("of two slots", () => {
  const damaged = slot(9).subarray(0, 40);
  const rows: readonly (readonly [string, Buffer | null, Buffer | null, object])[] = [
    ["the newer is taken", slot(3), slot(4), { ok: true, newest: "b", damaged: null, slot: { sequence: 4 } }],
    ["the newer is taken, other way round", slot(4), slot(3), { ok: true, newest: "a", damaged: null }],
    ["equal ones are fine", slot(4), slot(4), { ok: true, newest: "a", damaged: null }],
    ["a damaged one is left", damaged, slot(4), { ok: true, newest: "b", damaged: { slot: "a", why: "damaged" } }],
    ["a missing one is left", slot(4), null, { ok: true, newest: "a", damaged: { slot: "b", why: "missing" } }],
    [
      "both missing is an error",
      null,
      null,
      { ok: false, why: "verified.a.json is missing, verified.b.json is missing" },
    ],
    [
      "both damaged is an error",
      damaged,
      damaged,
      { ok: false, why: "verified.a.json is damaged, verified.b.json is damaged" },
    ],
    ["one missing and one damaged is an error", null, damaged, { ok: false }],
    ["one sequence with different content is an error", slot(4), slot(4, { serial: 8 }), { ok: false }],
  ];
  test.each(rows)("%s", (_what, a, b, expected) => {
    expect(chooseSlot("verified", { a, b })).toMatchObject(expected);
  });
});

describe("the verified pointer", () => {
  const other = "ef".repeat(32);
  const rows: readonly (readonly [string, Partial<VerifiedPointer>, object])[] = [
    ["moves to a higher serial", { serial: 8, lockDigest: other }, { ok: true }],
    ["stays where it is, on another commit", { commit: "ef".repeat(20) }, { ok: true }],
    ["moves to a newer root", { root: 2 }, { ok: true }],
    ["does not move to a lower serial", { serial: 6 }, { ok: false, code: "TRUST_ROLLBACK" }],
    ["does not move to an older root", { root: 0, serial: 8 }, { ok: false, code: "TRUST_ROLLBACK" }],
    ["does not move to other content of its serial", { lockDigest: other }, { ok: false, code: "TRUST_EQUIVOCATION" }],
    ["does not move back to nothing", emptyPointers.verified, { ok: false, code: "TRUST_ROLLBACK" }],
  ];
  test.each(rows)("%s", (_what, next, expected) => {
    expect(checkAdvance(pointer, { ...pointer, ...next })).toMatchObject(expected);
  });
  test("moves from the start", () => {
    expect(checkAdvance(emptyPointers.verified, pointer)).toEqual({ ok: true });
  });
});

describe("roots and the pointer", () => {
  const serials = { void: 100, restart: 7 };
  const high = { ...pointer, serial: 500 };
  test("another root of the same number is refused, a newer one is not", () => {
    expect(checkAdvance(pointer, { ...pointer, rootDigest: "00".repeat(32) })).toMatchObject({
      ok: false,
      code: "TRUST_EQUIVOCATION",
    });
    expect(checkAdvance(pointer, { ...pointer, root: 2, rootDigest: "00".repeat(32) })).toEqual({ ok: true });
  });
  test("only a newer root takes serials back", () => {
    const back = { ...high, serial: 8, lockDigest: "12".repeat(32) };
    expect(checkAdvance(high, back, serials)).toMatchObject({ ok: false, code: "TRUST_ROLLBACK" });
    expect(checkAdvance(high, { ...back, root: 2 }, serials)).toEqual({ ok: true });
    expect(checkAdvance(high, { ...back, root: 2 })).toMatchObject({ ok: false, code: "TRUST_ROLLBACK" });
    expect(checkAdvance(high, { ...back, root: 2, serial: 6 }, serials)).toMatchObject({ ok: false });
  });
  test("no part goes back either", () => {
    const parts = { payments: { serial: 2, lockDigest: "12".repeat(32) } };
    expect(checkAdvance(pointer, { ...pointer, parts })).toMatchObject({ ok: false, code: "TRUST_ROLLBACK" });
    expect(checkAdvance(pointer, { ...pointer, parts: {} })).toMatchObject({ ok: false, code: "TRUST_ROLLBACK" });
  });
});
