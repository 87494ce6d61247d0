import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { deflateSync } from "node:zlib";
import { expect, test } from "vitest";
import {
  buildObject,
  defaultPackLimits,
  indexPack,
  nameOf,
  type PackLimits,
} from "../../../agent/source/pack-index.ts";
import { makeRepository } from "../../support/git-repository.ts";
import { buildPack, copyDelta, PACK_TYPES, type PackEntry, withTrailer } from "../../support/pack-builder.ts";

const { blob, ofsDelta, refDelta } = PACK_TYPES;
const limits: PackLimits = {
  maxObjects: 300,
  maxObjectBytes: 100_000,
  maxTotalBytes: 250_000,
  maxDeltaDepth: 10,
  maxWorkBytes: 1_000_000,
};
const text = (bytes: number): PackEntry => ({ type: blob, data: Buffer.alloc(bytes, "a") });
const delta = (base: number, baseBytes: number, resultBytes: number): PackEntry => ({
  type: ofsDelta,
  base,
  data: copyDelta(baseBytes, resultBytes),
});
/** A whole object, and `length` deltas each on the one before. */
const chain = (length: number, bytes = 10): readonly PackEntry[] => [
  text(bytes),
  ...Array.from({ length }, (_, index) => delta(index, bytes, bytes)),
];

test.each<[string, Buffer, number]>([
  ["no objects", buildPack([]), 0],
  ["an empty object", buildPack([text(0)]), 1],
  [
    "sizes of one, two and three header bytes",
    buildPack([text(15), text(16), text(2_047), text(2_048), text(40_000)]),
    5,
  ],
  ["a delta that builds the same again", buildPack(chain(1)), 1],
  ["a delta far from its base", buildPack([text(10), { type: blob, data: randomBytes(30_000) }, delta(0, 10, 10)]), 2],
  ["a chain at the limit", buildPack(chain(10)), 1],
])("a pack with %s", async (_, pack, count) => {
  expect((await indexPack(pack, limits)).objects.size).toBe(count);
});

const header = (version: number, count: number): Buffer => {
  const bytes = Buffer.from("PACK00000000", "latin1");
  bytes.writeUInt32BE(version, 4);
  bytes.writeUInt32BE(count, 8);
  return bytes;
};
const pack = buildPack([text(100)]);

test.each<[string, Buffer, RegExp]>([
  ["nothing", Buffer.alloc(0), /shorter/],
  ["a header only", header(2, 0), /shorter/],
  ["another magic", withTrailer(Buffer.from("JUNK00000000")), /no header/],
  ["version 3", withTrailer(header(3, 0)), /no header/],
  ["a wrong trailer", Buffer.concat([pack.subarray(0, -1), Buffer.of(0)]), /checksum/],
  ["a byte more", withTrailer(Buffer.concat([pack.subarray(0, -20), Buffer.of(0)])), /between the last object/],
  ["an object more than it has", buildPack([text(1)], 2), /ends within/],
  ["an object fewer than it has", buildPack([text(1), text(1)], 1), /between the last object/],
  ["type 0", buildPack([{ type: 0, data: Buffer.alloc(1) }]), /unknown type 0/],
  ["type 5", buildPack([{ type: 5, data: Buffer.alloc(1) }]), /unknown type 5/],
  ["a delta by name", buildPack([{ type: refDelta, data: copyDelta(1, 1) }]), /by object name/],
  ["a delta on nothing", buildPack([text(10), { ...delta(0, 10, 10), base: 9 }]), /without its base/],
  ["a delta for a base of another size", buildPack([text(10), delta(0, 11, 11)]), /another size/],
  [
    "a delta that ends within its sizes",
    buildPack([text(10), { type: ofsDelta, base: 0, data: Buffer.of(0x80) }]),
    /ends within/,
  ],
  ["an object that inflates to more than it says", buildPack([{ ...text(100), declaredBytes: 99 }]), /more bytes/],
  ["an empty object that inflates to something", buildPack([{ ...text(100), declaredBytes: 0 }]), /more bytes/],
  ["an object that inflates to less than it says", buildPack([{ ...text(100), declaredBytes: 101 }]), /fewer bytes/],
  ["no zlib", buildPack([{ ...text(8), compressed: Buffer.from("not zlib") }]), /does not inflate/],
  [
    "zlib that is cut off",
    buildPack([{ ...text(1_000), compressed: deflateSync(randomBytes(1_000)).subarray(0, 500) }]),
    /inflate/,
  ],
  ["a flipped bit in an object", flipped(), /inflate|bytes/],
  ["a delta with instruction 0", rawDelta(10, 10, 0), /unknown instruction/],
  ["a delta that copies beyond its base", rawDelta(10, 11, 0x90, 11), /beyond its base/],
  ["a delta that copies from behind its base", rawDelta(10, 1, 0x98, 255, 1), /beyond its base/],
  ["a delta that builds more than it says", rawDelta(10, 5, 0x90, 10), /beyond its base or its result/],
  ["a delta that builds less than it says", rawDelta(10, 11, 0x90, 10), /less than it says/],
  ["a delta whose own bytes are missing", rawDelta(10, 5, 5, 1, 2), /beyond its base/],
  ["a delta that ends within an instruction", rawDelta(10, 5, 0xff), /ends within/],
])("%s is malformed", async (_, bytes, message) => {
  await expect(indexPack(bytes, limits)).rejects.toEqual(
    expect.objectContaining({ code: "SOURCE_PROTOCOL", message: expect.stringMatching(message) }),
  );
});

test.each<[string, Buffer, RegExp]>([
  ["more objects than the limit", buildPack(Array.from({ length: 301 }, () => text(0))), /301 objects/],
  ["four billion objects announced", withTrailer(header(2, 0xffff_ffff)), /4294967295 objects/],
  ["an object over the limit", buildPack([text(100_001)]), /100001 bytes/],
  ["an object with an absurd size", buildPack([{ ...text(1), declaredBytes: 2 ** 45 }]), /bytes; at most/],
  ["objects that are too large together", buildPack([text(90_000), text(90_000), text(90_000)]), /more than 250000/],
  ["a delta that builds too much", buildPack([text(10), delta(0, 10, 100_001)]), /builds 100001/],
  [
    "deltas that build too much together",
    buildPack([text(10), ...[1, 2, 3].map(() => ({ ...delta(0, 10, 90_000), data: copyDelta(10, 90_000, 9_000) }))]),
    /more than 250000/,
  ],
  ["a chain over the limit", buildPack(chain(11)), /more than 10 deltas/],
  ["many chains that are costly to read", buildPack(costlyChains()), /too costly/],
])("%s is too large", async (_, bytes, message) => {
  await expect(indexPack(bytes, limits)).rejects.toEqual(
    expect.objectContaining({ code: "SOURCE_TOO_LARGE", message: expect.stringMatching(message) }),
  );
});

test("500 MB of zeros in 0.5 MB are refused from the header, in no time", async () => {
  const bomb = buildPack([
    {
      type: blob,
      data: Buffer.alloc(0),
      declaredBytes: 500_000_000,
      compressed: deflateSync(Buffer.alloc(50_000_000)),
    },
  ]);
  const startedMs = performance.now();
  await expect(indexPack(bomb, defaultPackLimits)).rejects.toMatchObject({ code: "SOURCE_TOO_LARGE" });
  expect(performance.now() - startedMs).toBeLessThan(50);
});

test("50 MB behind a header that says 10 bytes are not inflated", async () => {
  const liar = buildPack([{ ...text(10), compressed: deflateSync(Buffer.alloc(50_000_000)) }]);
  const startedMs = performance.now();
  await expect(indexPack(liar, defaultPackLimits)).rejects.toMatchObject({ code: "SOURCE_PROTOCOL" });
  expect(performance.now() - startedMs).toBeLessThan(50);
});

test("packs that git makes are read as git reads them, with and without deltas", async () => {
  const repository = makeRepository();
  const lines = Array.from({ length: 400 }, (_, index) => `host-${index}.example.com`);
  for (let index = 0; index < 30; index++) {
    repository.commitFiles({ "policy.json": [...lines, `change ${index}`].join("\n"), [`f/${index}`]: `${index}` });
  }
  const ids = repository.git(["rev-list", "--objects", "--all"]).replace(/ .*/g, "");
  const commits = repository.git(["rev-list", "--parents", "--all"]).split("\n");
  for (const options of [["--window=0"], ["--window=50", "--depth=50", "--delta-base-offset"]]) {
    const made = repository.gitBytes(["pack-objects", "--stdout", "-q", ...options], `${ids}\n`);
    const { objects, parents } = await indexPack(made, defaultPackLimits);
    expect([...objects.keys()].sort()).toEqual(ids.split("\n").sort());
    expect([...parents].map(([commit, its]) => [commit, ...its].join(" ")).sort()).toEqual(commits.sort());
    for (const [oid, object] of objects) {
      const content = buildObject(object, ({ start, end }) => made.subarray(start, end));
      expect(nameOf(object.type, content)).toBe(oid);
    }
    const depths = [...objects.values()].map(({ depth }) => depth);
    expect(Math.max(...depths) > 0).toBe(options.length > 1);
  }
  const byName = repository.gitBytes(["pack-objects", "--stdout", "-q", "--window=50"], `${ids}\n`);
  await expect(indexPack(byName, defaultPackLimits)).rejects.toMatchObject({
    message: expect.stringMatching(/by object name/),
  });
  rmSync(repository.folder, { recursive: true });
});

/** A delta on ten bytes, of sizes and instructions as given. */
function rawDelta(...bytes: readonly number[]): Buffer {
  return buildPack([text(10), { type: ofsDelta, base: 0, data: Buffer.from(bytes) }]);
}

function flipped(): Buffer {
  const bytes = Buffer.from(pack.subarray(0, -20));
  bytes[16] = (bytes[16] ?? 0) ^ 0x55;
  return withTrailer(bytes);
}

/** 20 chains of ten deltas: 224 kB of objects, and 1.2 MB of work to read each one alone. */
function costlyChains(): readonly PackEntry[] {
  return Array.from({ length: 20 }, (_, index) =>
    chain(10, 1_020).map((entry) => (entry.base === undefined ? entry : { ...entry, base: entry.base + index * 11 })),
  ).flat();
}
