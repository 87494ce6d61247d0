import { createHash } from "node:crypto";
import { link, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { joinShards, type NamesShardFile } from "../compile/name-shards.ts";
import type { Artifact, GateRelease, Provenance, Release } from "../compile/release.ts";
import { PLACES_FILE, SHARDS, shardNamesFile } from "../compile/shards.ts";
import { AgentError, type Json } from "../errors.ts";
import { createFileDigests, type FileDigests } from "../host/file-digests.ts";
import { makeFolder, readFileBytes, readFileIfAny, replaceFile, syncFolder, writeUnreadFile } from "../host/files.ts";
import { allDone } from "./all-done.ts";

const MAX_ARTIFACT_BYTES = 256 * 1024 * 1024;
const MAX_MANIFEST_BYTES = 64 * 1024;
const KEPT_RELEASES = 10;
const PROVENANCE_FILE = "provenance.json";

/** A release on disk: `<releases>/<digest>/` with its artifacts, and provenance.json beside them. */
export interface StoredRelease {
  readonly digest: string;
  readonly folder: string;
}

/**
 * Step 1, stage: writes a release's artifacts into its folder, fsynced, the manifest last, so that a folder with a
 * manifest is complete. Writing the same release again changes nothing but its provenance, and what is damaged. A file
 * that the release `like` has too becomes another link to it: a long list costs what changed.
 * @throws AgentError HOST_FILE
 */
export async function storeRelease(
  releases: string,
  release: Release,
  provenance: Provenance,
  like: string | null = null,
  digests: FileDigests = createFileDigests(),
): Promise<StoredRelease> {
  const folder = join(releases, release.digest);
  const manifestPath = join(folder, "manifest.json");
  const provenancePath = join(folder, PROVENANCE_FILE);
  const provenanceBytes = Buffer.from(`${JSON.stringify(provenance, null, 2)}\n`);
  if (await isWhole(releases, release.digest, digests)) {
    await replaceFile(provenancePath, provenanceBytes);
    return { digest: release.digest, folder };
  }
  // Gone first: a folder that is half written never has a manifest.
  await rm(manifestPath, { force: true });
  await makeFolder(folder);
  const manifest = release.artifacts.find((artifact) => artifact.path === "manifest.json");
  if (manifest === undefined) throw new AgentError("HOST_FILE", "the compiled release has no manifest.json");
  const others = release.artifacts.filter((artifact) => artifact !== manifest);
  const model = like === null || like === release.digest ? null : join(releases, like);
  const isInModel = async ({ path, digest }: Artifact): Promise<boolean> =>
    model !== null && (await digests.of(join(model, path), MAX_ARTIFACT_BYTES)) === digest;
  const writeArtifact = async (artifact: Artifact): Promise<void> => {
    const isLinked = (await isInModel(artifact)) && (await linkArtifact(model ?? "", folder, artifact.path));
    if (!isLinked) await writeUnreadFile(join(folder, artifact.path), artifact.bytes);
  };
  await allDone([writeUnreadFile(provenancePath, provenanceBytes), ...others.map(writeArtifact)]);
  await syncFolder(folder);
  await allDone([replaceFile(manifestPath, manifest.bytes), syncFolder(releases)]);
  return { digest: release.digest, folder };
}

/** Returns whether a release is stored and every file of it is what its digest says. */
export async function isWhole(releases: string, digest: string, digests?: FileDigests): Promise<boolean> {
  try {
    await openRelease(releases, digest, digests);
    return true;
  } catch (error) {
    if (error instanceof AgentError) return false;
    throw error;
  }
}

/**
 * Files of a release are replaced and never written into, so that links to them stay what they are. Returns false where
 * there are no links, or too many to one file.
 */
async function linkArtifact(model: string, folder: string, path: string): Promise<boolean> {
  const [from, to] = [join(model, path), join(folder, path)];
  const tryLink = (): Promise<boolean> =>
    link(from, to).then(
      () => true,
      () => false,
    );
  // Nothing is there but what an attempt before has left, which hardly ever is.
  return (await tryLink()) || (await rm(to, { force: true }).then(tryLink, () => false));
}

/**
 * Returns a stored release after checking every artifact against the manifest and the manifest against the digest.
 * `digests` remembers what was read before.
 * @throws AgentError APPLY_RELEASE_DAMAGED naming the file that differs or is missing.
 */
export async function openRelease(
  releases: string,
  digest: string,
  digests: FileDigests = createFileDigests(),
): Promise<StoredRelease> {
  const folder = join(releases, digest);
  const manifestBytes = await readIfUsable(join(folder, "manifest.json"), MAX_MANIFEST_BYTES);
  if (manifestBytes === null) throw damaged(folder, "manifest.json is missing");
  if (sha256(manifestBytes) !== digest) throw damaged(folder, "manifest.json does not have the release's digest");
  for (const [path, expected] of Object.entries(JSON.parse(manifestBytes.toString("utf8")) as Record<string, string>)) {
    const found = await digests.of(join(folder, path), MAX_ARTIFACT_BYTES);
    if (found === null) throw damaged(folder, `${path} is missing`);
    if (found !== expected) throw damaged(folder, `${path} does not match its digest`);
  }
  return { digest, folder };
}

/**
 * Returns what a stored release says, whole, its shards put together. Its bytes were checked when it was opened.
 * @throws AgentError APPLY_RELEASE_DAMAGED
 */
export async function readGateRelease({ folder }: Pick<StoredRelease, "folder">): Promise<GateRelease> {
  try {
    const read = (file: string): Promise<Buffer> => readFileBytes(join(folder, file), MAX_ARTIFACT_BYTES);
    const gate = JSON.parse((await read("gate.json")).toString("utf8")) as GateRelease;
    if (gate.sharded === undefined) return gate;
    const places = await read(PLACES_FILE);
    const shards = await Promise.all(SHARDS.map(shardNamesFile).map(read));
    const lists = shards.map((bytes) => JSON.parse(bytes.toString("utf8")) as NamesShardFile);
    return joinShards(gate, lists, places);
  } catch (error) {
    throw damaged(folder, (error as Error).message);
  }
}

/** A bad sector, a folder in its place or a file that has grown is the same as a missing file: the artifact is not there. */
async function readIfUsable(path: string, maxBytes: number): Promise<Buffer | null> {
  try {
    return await readFileIfAny(path, maxBytes);
  } catch {
    return null;
  }
}

/** Returns who approved a stored release, and for which commit; null when that is not known any more. */
export async function readProvenance(releases: string, digest: string): Promise<Provenance | null> {
  const bytes = await readIfUsable(join(releases, digest, PROVENANCE_FILE), MAX_MANIFEST_BYTES);
  try {
    return bytes === null ? null : (JSON.parse(bytes.toString("utf8")) as Provenance);
  } catch {
    return null;
  }
}

/** Removes all but the newest ten releases, never one of those named. */
export async function pruneReleases(releases: string, keep: readonly string[]): Promise<void> {
  const names = await readdir(releases);
  const ages = await Promise.all(
    names.map(async (name) => ({ name, mtimeMs: (await stat(join(releases, name))).mtimeMs })),
  );
  const newest = ages.sort((a, b) => b.mtimeMs - a.mtimeMs).slice(0, KEPT_RELEASES);
  const kept = new Set([...keep, ...newest.map(({ name }) => name)]);
  for (const name of names) {
    if (!kept.has(name)) await rm(join(releases, name), { recursive: true, force: true });
  }
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function damaged(folder: string, what: string): AgentError {
  const details: { readonly [key: string]: Json } = { folder };
  return new AgentError("APPLY_RELEASE_DAMAGED", `release ${folder}: ${what}`, {
    remedy:
      "nothing to do while the branch still has this policy: the next poll writes it again; else merge a new commit",
    details,
  });
}
