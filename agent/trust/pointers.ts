import { createHash } from "node:crypto";
import type { Json } from "../errors.ts";

/** The newest state whose approvals held, applied or not. */
export interface VerifiedPointer {
  /** Number of the newest root that was followed; 0 at the start. */
  readonly root: number;
  /** SHA-256 of that root's bytes in hex; null at the start. */
  readonly rootDigest: string | null;
  /** 0 at the start. */
  readonly serial: number;
  /** SHA-256 of the lock's bytes in hex; null at the start. */
  readonly lockDigest: string | null;
  readonly commit: string | null;
  /** When, as an ISO 8601 time in UTC; null at the start. */
  readonly at: string | null;
  /** The newest locks of rules that have their own, by the name of the rule. */
  readonly parts: { readonly [rule: string]: Floor };
  /** When it was last shown, by a new lock or by the role `freshness`, that this is the newest state; null: never. */
  readonly freshAt: string | null;
  /** Until when the role `freshness` vouches for that; null: it never did. */
  readonly freshUntil: string | null;
}

/** What a lock must not be older than. */
export interface Floor {
  readonly serial: number;
  readonly lockDigest: string | null;
}

/** The newest state that was applied and found healthy. */
export interface ConfirmedPointer {
  /** Digest of the release; null at the start. */
  readonly release: string | null;
  readonly serial: number;
  readonly commit: string | null;
  readonly at: string | null;
  /** The release of the whole policy when `release` is a narrower one, made because trust in it has run out; else null. */
  readonly whole: string | null;
}

export interface Pointers {
  readonly verified: VerifiedPointer;
  readonly confirmed: ConfirmedPointer;
}

export type PointerKind = keyof Pointers;
export const pointerKinds = ["verified", "confirmed"] as const satisfies readonly PointerKind[];

/** What a gateway starts with: nothing verified, nothing confirmed. */
export const emptyPointers: Pointers = {
  verified: {
    ...{ root: 0, rootDigest: null, serial: 0, lockDigest: null, commit: null, at: null },
    ...{ parts: {}, freshAt: null, freshUntil: null },
  },
  confirmed: { release: null, serial: 0, commit: null, at: null, whole: null },
};

/** Each pointer is kept twice, so that one damaged file loses nothing. */
export type SlotName = "a" | "b";
export const slotNames = ["a", "b"] as const satisfies readonly SlotName[];
/** 64 rules with a lock of their own fit. */
export const MAX_SLOT_BYTES = 32 * 1024;
const FORMAT = 2;

/** Returns the file name of a slot. */
export function slotFile(kind: PointerKind, slot: SlotName): string {
  return `${kind}.${slot}.json`;
}

export interface Slot<Kind extends PointerKind> {
  /** 1 to 2^53 - 1; the higher one is the newer. */
  readonly sequence: number;
  readonly pointer: Pointers[Kind];
}

/** Returns the bytes of a slot. The kind is under the checksum too, so that one file cannot stand in for the other. */
export function encodeSlot<Kind extends PointerKind>(kind: Kind, { sequence, pointer }: Slot<Kind>): Buffer {
  const content = { version: FORMAT, kind, sequence, pointer: { ...pickFields(kind, pointer) } };
  const sha256 = createHash("sha256").update(JSON.stringify(content)).digest("hex");
  return Buffer.from(`${JSON.stringify({ ...content, sha256 })}\n`);
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isText = (pattern: RegExp) => (value: unknown) =>
  value === null || (typeof value === "string" && pattern.test(value));
const isDigest = isText(/^[0-9a-f]{64}$/);
const isCommit = isText(/^[0-9a-f]{40}$/);
const isTime = isText(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,3})?Z$/);
const isFloor = (value: unknown): boolean => {
  const { serial, lockDigest } = Object(value) as { readonly serial?: unknown; readonly lockDigest?: unknown };
  return isCount(serial) && isDigest(lockDigest);
};
const isParts = (value: unknown): boolean =>
  typeof value === "object" && value !== null && !Array.isArray(value) && Object.values(value).every(isFloor);
const isRelease = isText(/^[0-9a-z-]{1,128}$/);

/** The fields of each kind in the order in which they are written. */
const fields: {
  readonly [Kind in PointerKind]: { readonly [Field in keyof Pointers[Kind]]: (value: unknown) => boolean };
} = {
  verified: {
    ...{ root: isCount, rootDigest: isDigest, serial: isCount, lockDigest: isDigest, commit: isCommit, at: isTime },
    ...{ parts: isParts, freshAt: isTime, freshUntil: isTime },
  },
  confirmed: { release: isRelease, serial: isCount, commit: isCommit, at: isTime, whole: isRelease },
};

function pickFields(kind: PointerKind, pointer: object): { readonly [field: string]: Json } {
  const values = pointer as { readonly [field: string]: Json };
  return Object.fromEntries(Object.keys(fields[kind]).map((field) => [field, values[field] ?? null]));
}

/** Returns the slot in the bytes, or null when a single byte of them is not as it was written. */
export function decodeSlot<Kind extends PointerKind>(kind: Kind, bytes: Buffer): Slot<Kind> | null {
  try {
    const parsed = JSON.parse(bytes.toString("utf8")) as { readonly sequence: unknown; readonly pointer: unknown };
    const { sequence, pointer } = parsed;
    if (!isCount(sequence) || sequence === 0 || typeof pointer !== "object" || pointer === null) return null;
    const values = pointer as { readonly [field: string]: unknown };
    if (!Object.entries(fields[kind]).every(([field, check]) => check(values[field]))) return null;
    const slot = { sequence: sequence as number, pointer: pointer as Pointers[Kind] };
    // The checksum, the order of the keys and everything else hold when writing it again gives the same bytes.
    return encodeSlot(kind, slot).equals(bytes) ? slot : null;
  } catch {
    // Not JSON, or not an object: damaged like any other wrong byte.
    return null;
  }
}

type SlotProblem = "missing" | "damaged" | "written by a newer version";

function isNewerFormat(bytes: Buffer): boolean {
  try {
    const { version } = JSON.parse(bytes.toString("utf8")) as { readonly version?: unknown };
    return Number.isSafeInteger(version) && (version as number) > FORMAT;
  } catch {
    return false;
  }
}

/** The bytes of both slots; null for one that does not exist. */
export type SlotBytes = { readonly [Name in SlotName]: Buffer | null };

export type Choice<Kind extends PointerKind> =
  | {
      readonly ok: true;
      readonly slot: Slot<Kind>;
      readonly newest: SlotName;
      /** The slot that has to be written again from the other, and what is wrong with it; null when both are sound. */
      readonly damaged: { readonly slot: SlotName; readonly why: SlotProblem } | null;
    }
  | { readonly ok: false; readonly why: string };

/**
 * Returns the newer of the sound slots. There is no guess: two slots that are unusable, or that claim the same sequence
 * with different content, give a reason instead.
 */
export function chooseSlot<Kind extends PointerKind>(kind: Kind, bytes: SlotBytes): Choice<Kind> {
  const decoded = { a: bytes.a && decodeSlot(kind, bytes.a), b: bytes.b && decodeSlot(kind, bytes.b) };
  const problem = (name: SlotName): SlotProblem => {
    const content = bytes[name];
    if (content === null) return "missing";
    return isNewerFormat(content) ? "written by a newer version" : "damaged";
  };
  const { a, b } = decoded;
  if (a === null && b === null) {
    return { ok: false, why: `${slotFile(kind, "a")} is ${problem("a")}, ${slotFile(kind, "b")} is ${problem("b")}` };
  }
  if (a === null || b === null) {
    const [newest, other] = a === null ? (["b", "a"] as const) : (["a", "b"] as const);
    const slot = decoded[newest];
    if (slot !== null) return { ok: true, slot, newest, damaged: { slot: other, why: problem(other) } };
  } else if (a.sequence !== b.sequence || bytes.a?.equals(bytes.b ?? Buffer.alloc(0))) {
    const newest = a.sequence >= b.sequence ? "a" : "b";
    return { ok: true, slot: newest === "a" ? a : b, newest, damaged: null };
  }
  return { ok: false, why: `both slots of ${kind} have the same sequence and different content` };
}

export type Advance =
  | { readonly ok: true }
  | { readonly ok: false; readonly code: "TRUST_ROLLBACK" | "TRUST_EQUIVOCATION"; readonly why: string };

/** How a root takes back serials that were driven up: @see Root */
type Serials = { readonly void: number; readonly restart: number } | null;

/** Returns what the next lock of a rule (null: the common one) must not be older than, under a root that may void serials. */
export function floorOf(verified: VerifiedPointer, part: string | null, serials: Serials): Floor {
  const none: Floor = { serial: 0, lockDigest: null };
  const floor = part === null ? verified : Object.hasOwn(verified.parts, part) ? verified.parts[part] : none;
  const { serial, lockDigest } = floor ?? none;
  return serials !== null && serial >= serials.void
    ? { serial: serials.restart, lockDigest: null }
    : { serial, lockDigest };
}

/** Returns the pointer with every void serial taken back; the same when there is none. */
export function takeBackSerials(verified: VerifiedPointer, serials: Serials): VerifiedPointer {
  const parts = Object.keys(verified.parts).map((part) => [part, floorOf(verified, part, serials)] as const);
  return { ...verified, ...floorOf(verified, null, serials), parts: Object.fromEntries(parts) };
}

/**
 * Returns whether the verified pointer may move: never to an older root or serial, never to other content of the same
 * root or serial. Only a root of a higher number takes serials back.
 */
export function checkAdvance(current: VerifiedPointer, next: VerifiedPointer, serials: Serials = null): Advance {
  if (next.root < current.root) {
    return { ok: false, code: "TRUST_ROLLBACK", why: `root ${next.root} is behind root ${current.root}` };
  }
  if (next.root === current.root && current.rootDigest !== null && next.rootDigest !== current.rootDigest) {
    return { ok: false, code: "TRUST_EQUIVOCATION", why: `root ${next.root} was followed with other content` };
  }
  const from = next.root > current.root ? takeBackSerials(current, serials) : current;
  const pairs = [null, ...Object.keys(from.parts)].map(
    (part) => [part, floorOf(from, part, null), floorOf(next, part, null)] as const,
  );
  for (const [part, before, after] of pairs) {
    const whose = part === null ? "" : ` of ${part}`;
    if (after.serial < before.serial) {
      return {
        ok: false,
        code: "TRUST_ROLLBACK",
        why: `serial ${after.serial}${whose} is behind serial ${before.serial}`,
      };
    }
    if (after.serial === before.serial && before.lockDigest !== null && after.lockDigest !== before.lockDigest) {
      return {
        ok: false,
        code: "TRUST_EQUIVOCATION",
        why: `serial ${after.serial}${whose} was verified with another lock`,
      };
    }
  }
  return { ok: true };
}
