import { createHash } from "node:crypto";
import { link, mkdir, mkdtemp, rename, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { createFileDigests } from "../../../agent/host/file-digests.ts";

const MAX_BYTES = 1000;
const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const longAgo = new Date("2026-01-01");

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "clawgress-digests-"));
  file = join(folder, "a");
  await writeFile(file, "one");
  await utimes(file, longAgo, longAgo);
});

test("a file that is as it was is not read again, under whatever name", async () => {
  const digests = createFileDigests();
  expect(await digests.of(file, MAX_BYTES)).toBe(sha256("one"));
  await link(file, join(folder, "b"));
  // Root alone can do this; it shows that nothing was read.
  await writeFile(file, "two");
  await utimes(file, longAgo, longAgo);
  expect(await digests.of(join(folder, "b"), MAX_BYTES)).toBe(sha256("one"));
  expect(await createFileDigests().of(join(folder, "b"), MAX_BYTES)).toBe(sha256("two"));
});

test("a file that was written into, or has another in its place, is read", async () => {
  const digests = createFileDigests();
  await digests.of(file, MAX_BYTES);
  await writeFile(file, "two");
  expect(await digests.of(file, MAX_BYTES)).toBe(sha256("two"));
  await writeFile(join(folder, "new"), "six");
  await rename(join(folder, "new"), file);
  expect(await digests.of(file, MAX_BYTES)).toBe(sha256("six"));
});

test("a file that changed a moment ago may change again within the same moment, and is read each time", async () => {
  const digests = createFileDigests();
  const now = new Date();
  for (const text of ["two", "six", "ten"]) {
    await writeFile(file, text);
    await utimes(file, now, now);
    expect(await digests.of(file, MAX_BYTES)).toBe(sha256(text));
  }
});

test("what is no file, is too large or is not there has none", async () => {
  const digests = createFileDigests();
  await mkdir(join(folder, "folder"));
  await symlink(file, join(folder, "link"));
  for (const name of ["folder", "link", "nothing"]) expect(await digests.of(join(folder, name), MAX_BYTES)).toBeNull();
  expect(await digests.of(file, 2)).toBeNull();
});
