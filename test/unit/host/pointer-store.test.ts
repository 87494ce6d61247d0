import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { AgentError } from "../../../agent/errors.ts";
import {
  healPointers,
  initialisePointers,
  readPointers,
  writeConfirmed,
  writeVerified,
} from "../../../agent/host/pointer-store.ts";
import { emptyPointers, encodeSlot, type VerifiedPointer } from "../../../agent/trust/pointers.ts";
import { makeFolder } from "../../support/ssh-keys.ts";

const { folder: parent, remove } = makeFolder();
afterAll(remove);
const folder = join(parent, "pointers");
const file = (name: string): string => join(folder, name);

const at = (serial: number): VerifiedPointer => ({
  ...emptyPointers.verified,
  root: 1,
  serial,
  lockDigest: serial.toString(16).padStart(64, "0"),
  commit: "cd".repeat(20),
  at: "2026-11-22T09:50:19Z",
});
const identity = { gateway: "gw", repository: "egress" };
const codeOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
    return "none";
  } catch (error) {
    return error instanceof AgentError ? error.code : String(error);
  }
};

beforeEach(async () => {
  rmSync(folder, { recursive: true, force: true });
  await initialisePointers(folder, identity);
});

describe("initialise", () => {
  test("writes the empty start, for the owner only", async () => {
    expect(await readPointers(folder)).toEqual({ ...emptyPointers, notes: [] });
    expect(readdirSync(folder).sort()).toEqual([
      "confirmed.a.json",
      "confirmed.b.json",
      "identity.json",
      "verified.a.json",
      "verified.b.json",
    ]);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(file("verified.a.json")).mode & 0o777).toBe(0o600);
    expect(existsSync(`${folder}.new`)).toBe(false);
  });
  test("refuses a second time, and changes nothing", async () => {
    await writeVerified(folder, at(5));
    expect(await codeOf(initialisePointers(folder, identity))).toBe("STATE_CORRUPT");
    expect((await readPointers(folder)).verified.serial).toBe(5);
  });
  test.each(["verified.a.json", "confirmed.b.json"])("refuses when only %s is there, even damaged", async (name) => {
    rmSync(folder, { recursive: true });
    mkdirSync(folder);
    writeFileSync(file(name), "");
    expect(await codeOf(initialisePointers(folder, identity))).toBe("STATE_CORRUPT");
  });
  test("accepts an empty folder, and one whose earlier start was killed", async () => {
    rmSync(folder, { recursive: true });
    mkdirSync(folder);
    mkdirSync(`${folder}.new`);
    writeFileSync(join(`${folder}.new`, "verified.a.json"), "half");
    await initialisePointers(folder, identity);
    expect(await readPointers(folder)).toEqual({ ...emptyPointers, notes: [] });
  });
});

describe("moves", () => {
  test("are read back", async () => {
    for (const serial of [1, 2, 3, 10]) await writeVerified(folder, at(serial));
    const confirmed = {
      release: "ab".repeat(32),
      serial: 3,
      commit: "cd".repeat(20),
      at: "2026-11-22T09:50:19Z",
      whole: null,
    };
    await writeConfirmed(folder, confirmed);
    expect(await readPointers(folder)).toEqual({ verified: at(10), confirmed, notes: [] });
  });
  test("of the verified pointer never go back", async () => {
    await writeVerified(folder, at(5));
    expect(await codeOf(writeVerified(folder, at(4)))).toBe("TRUST_ROLLBACK");
    expect(await codeOf(writeVerified(folder, { ...at(5), lockDigest: "ff".repeat(32) }))).toBe("TRUST_EQUIVOCATION");
    expect(await codeOf(writeVerified(folder, emptyPointers.verified))).toBe("TRUST_ROLLBACK");
    expect((await readPointers(folder)).verified).toEqual(at(5));
  });
});

describe("damage", () => {
  test.each(["verified.a.json", "verified.b.json"])("to any byte of %s loses nothing, and is healed", async (name) => {
    await writeVerified(folder, at(4));
    await writeVerified(folder, at(5));
    const whole = readFileSync(file(name));
    for (let length = 0; length < whole.length; length += 1) {
      writeFileSync(file(name), whole.subarray(0, length));
      const { verified, notes } = await readPointers(folder);
      expect(verified, `${length} bytes`).toEqual(at(5));
      expect(notes).toEqual([`${file(name)} is damaged; its twin holds serial 5`]);
    }
    expect(await healPointers(folder)).toHaveLength(1);
    expect(readFileSync(file(name))).toEqual(whole);
    expect(await healPointers(folder)).toEqual([]);
  });
  test("to one slot is repaired by the next move", async () => {
    await writeVerified(folder, at(5));
    unlinkSync(file("verified.a.json"));
    await writeVerified(folder, at(6));
    expect(await readPointers(folder)).toMatchObject({ verified: at(6), notes: [] });
  });
  test("to one slot does not let the pointer go back", async () => {
    await writeVerified(folder, at(5));
    writeFileSync(file("verified.b.json"), "");
    expect(await codeOf(writeVerified(folder, at(4)))).toBe("TRUST_ROLLBACK");
  });
  test.each([
    ["both missing", null, null],
    ["both empty", "", ""],
    ["one missing, one damaged", null, "x"],
    ["both of another kind", "confirmed", "confirmed"],
  ])("%s: nothing is read, written or begun anew", async (_what, a, b) => {
    await writeVerified(folder, at(5));
    for (const [name, content] of [
      ["verified.a.json", a],
      ["verified.b.json", b],
    ] as const) {
      if (content === null) unlinkSync(file(name));
      else writeFileSync(file(name), content === "confirmed" ? readFileSync(file("confirmed.a.json")) : content);
    }
    expect(await codeOf(readPointers(folder))).toBe("STATE_CORRUPT");
    expect(await codeOf(healPointers(folder))).toBe("STATE_CORRUPT");
    expect(await codeOf(writeVerified(folder, at(6)))).toBe("STATE_CORRUPT");
    expect(await codeOf(initialisePointers(folder, identity))).toBe("STATE_CORRUPT");
  });
  test("a huge file in the place of a slot is damage like any other", async () => {
    writeFileSync(file("verified.a.json"), Buffer.alloc(3_000_000, 32));
    expect(await readPointers(folder)).toMatchObject({ verified: emptyPointers.verified });
  });
  test("a crash between the two slots leaves the newer state", async () => {
    await writeVerified(folder, at(5));
    const older = readFileSync(file("verified.b.json"));
    await writeVerified(folder, at(6));
    writeFileSync(file("verified.b.json"), older);
    expect(await readPointers(folder)).toMatchObject({ verified: at(6), notes: [] });
    writeFileSync(file("verified.a.json"), older);
    writeFileSync(file("verified.b.json"), encodeSlot("verified", { sequence: 99, pointer: at(6) }));
    expect(await readPointers(folder)).toMatchObject({ verified: at(6), notes: [] });
  });
});
