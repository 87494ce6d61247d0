import { join } from "node:path";
import { AgentError } from "../errors.ts";
import { readFileIfAny, readFileSlice, replaceFile } from "../host/files.ts";
import { listFolder, makeFolder, removeFrom } from "../host/folders.ts";
import { plainText } from "../plain-text.ts";
import type { ReadObject } from "./commit-reader.ts";
import type { ParentsOf } from "./commit-walk.ts";
import { buildObject, defaultPackLimits, indexPack, nameOf, type PackIndex } from "./pack-index.ts";
import type { CommitId } from "./source.ts";

/** Fetched packs on disk: a cache, in which everything is checked again when it is read. */
export interface PackStore {
  /** Newest first: commits that were fetched with everything that belongs to them. */
  readonly tips: readonly CommitId[];
  /** Commits whose parents were not fetched. */
  readonly shallow: readonly CommitId[];
  readonly packs: readonly StoredPack[];
}

interface StoredPack {
  /** The SHA-1 at its end, in hex. */
  readonly name: string;
  readonly bytes: number;
  readonly index: PackIndex;
}

export const emptyStore: PackStore = { tips: [], shallow: [], packs: [] };

const MANIFEST = "store.json";
const MAX_MANIFEST_BYTES = 64 * 1024;
const MAX_TIPS = 8;
const TRAILER_BYTES = 20;

/**
 * Returns what is on disk, or null when a single byte of it is not as it was written. Nothing is repaired: all of it can be
 * fetched again.
 */
export async function loadStore(folder: string, maxPackBytes: number): Promise<PackStore | null> {
  try {
    const manifest = parseManifest(await readFileIfAny(join(folder, MANIFEST), MAX_MANIFEST_BYTES));
    if (manifest === null) return null;
    const packs: StoredPack[] = [];
    for (const name of manifest.packs) {
      const bytes = await readFileIfAny(join(folder, `${name}.pack`), maxPackBytes);
      if (bytes === null || trailerOf(bytes) !== name) return null;
      packs.push({ name, bytes: bytes.length, index: await indexPack(bytes, defaultPackLimits) });
    }
    return { tips: manifest.tips, shallow: manifest.shallow, packs };
  } catch {
    // Unreadable, malformed, a folder where a file was: damaged like any other wrong byte.
    return null;
  }
}

/**
 * Returns the store with one pack more, after writing it: first the pack, then, in one rename, the list of what belongs
 * together. A crash at any moment leaves the old store or the new one. Files that belong to neither are removed.
 * @throws AgentError HOST_FILE
 */
export async function addPack(
  folder: string,
  store: PackStore,
  { pack, index, tip, shallow }: { pack: Buffer; index: PackIndex; tip: CommitId; shallow: readonly CommitId[] },
): Promise<PackStore> {
  const name = trailerOf(pack);
  const known = store.packs.filter((other) => other.name !== name);
  const next: PackStore = {
    tips: [tip, ...store.tips.filter((other) => other !== tip)].slice(0, MAX_TIPS),
    shallow: [...new Set([...store.shallow, ...shallow])],
    packs: [...known, { name, bytes: pack.length, index }],
  };
  const names = next.packs.map((entry) => entry.name);
  await makeFolder(folder);
  await replaceFile(join(folder, `${name}.pack`), pack, 0o600);
  const manifest = { version: 1, tips: next.tips, shallow: next.shallow, packs: names };
  await replaceFile(join(folder, MANIFEST), `${JSON.stringify(manifest)}\n`, 0o600);
  const wanted = new Set([MANIFEST, ...names.map((entry) => `${entry}.pack`)]);
  const others = (await listFolder(folder)).filter((entry) => !wanted.has(entry));
  await removeFrom(folder, others);
  return next;
}

/** Returns a reader of objects in the store that checks each content against its name. */
export function readFromStore(folder: string, store: PackStore): ReadObject {
  return async (oid, type) => {
    const pack = store.packs.findLast(({ index }) => index.objects.has(oid));
    const object = pack?.index.objects.get(oid);
    if (pack === undefined || object === undefined) {
      throw new AgentError("SOURCE_PROTOCOL", `the repository lacks the object ${plainText(oid, 40)}`);
    }
    const slices = new Map<number, Buffer>();
    for (let link: typeof object | null = object; link !== null; link = link.base) {
      slices.set(link.start, await readFileSlice(join(folder, `${pack.name}.pack`), link.start, link.end));
    }
    const content = buildObject(object, ({ start }) => slices.get(start) ?? Buffer.alloc(0));
    if (object.type === type && nameOf(type, content) === oid) return content;
    throw new AgentError("SOURCE_PROTOCOL", `the object ${oid} is not the ${type} it is named as`);
  };
}

/** Returns the parents of the commits in a store. */
export function parentsInStore(store: PackStore): ParentsOf {
  return (commit) => store.packs.find(({ index }) => index.parents.has(commit))?.index.parents.get(commit);
}

function trailerOf(pack: Buffer): string {
  return pack.subarray(-TRAILER_BYTES).toString("hex");
}

interface Manifest {
  readonly tips: readonly string[];
  readonly shallow: readonly string[];
  readonly packs: readonly string[];
}

function parseManifest(bytes: Buffer | null): Manifest | null {
  if (bytes === null) return null;
  const parsed = JSON.parse(bytes.toString("utf8")) as { readonly [key: string]: unknown } | null;
  const { version, tips, shallow, packs } = parsed ?? {};
  return version === 1 && isNames(tips) && isNames(shallow) && isNames(packs) ? { tips, shallow, packs } : null;
}

function isNames(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((entry) => typeof entry === "string" && /^[0-9a-f]{40}$/.test(entry));
}
