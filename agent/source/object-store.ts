import { createHash } from "node:crypto";
import git from "isomorphic-git";
import { AgentError, type Code } from "../errors.ts";
import { countFiles, gitFs, makeEmptyFolder, removeFolder, swapFolder } from "../host/git-folder.ts";
import type { HttpClient } from "../host/http.ts";
import { plainText } from "../plain-text.ts";
import { type ObjectType, openCommit, type ReadObject } from "./commit-reader.ts";
import { createGitHttp } from "./git-http.ts";
import { defaultPackLimits } from "./pack-check.ts";
import type { CommitId, CommitReader } from "./source.ts";

export interface StoreOptions {
  /** A bare repository that is only a cache: whatever is wrong with it, it is fetched again. */
  readonly folder: string;
  readonly http: HttpClient;
  readonly timeoutMs: number;
  readonly maxPackBytes: number;
}

export interface ObjectStore {
  /** Returns a reader of a commit, fetching what is not there yet. The reader serves until the next call. @throws AgentError SOURCE_*, HOST_FILE */
  open(commit: CommitId, signal: AbortSignal): Promise<CommitReader>;
}

/** The configured branch's name never becomes a path on disk: in the cache it is always called so. */
const LOCAL_BRANCH = "tracked";
const LOCAL_REF = `refs/remotes/origin/${LOCAL_BRANCH}`;
/** Each fetch adds a pack, and every read goes through all of them. */
const MAX_PACKS = 50;
/** What says nothing about the cache: fetching everything again would not help. */
const transportCodes: ReadonlySet<Code> = new Set([
  "SOURCE_UNREACHABLE",
  "SOURCE_TIMEOUT",
  "SOURCE_AUTH",
  "SOURCE_HTTP",
  "SOURCE_REDIRECT",
]);

/** What was read whole, hash and all, and says something that is refused. */
const refusalCodes: ReadonlySet<Code> = new Set(["SOURCE_FILE", "SOURCE_COMMIT"]);

/** Returns a store of the commits that were fetched. Nothing is touched before the first `open`. */
export function openObjectStore(options: StoreOptions): ObjectStore {
  let isDamaged = false;
  let last: Promise<unknown> = Promise.resolve();

  const openFetched = async (folder: string, commit: CommitId): Promise<CommitReader> => {
    const readObject = createReadObject(folder);
    return await openCommit(commit, async (oid, type) => {
      try {
        return await readObject(oid, type);
      } catch (error) {
        isDamaged = true;
        throw error;
      }
    });
  };

  /** Returns a reader when the commit and its root folder are there already, else null. */
  const openCached = async (commit: CommitId): Promise<CommitReader | null> => {
    if (isDamaged || !(await hasObject(options.folder, commit))) return null;
    return await openFetched(options.folder, commit).catch(onlyRefusals);
  };

  /** Returns a reader after a fetch of what is new, or null when the cache is not fit for that. */
  const openIncrement = async (commit: CommitId, signal: AbortSignal): Promise<CommitReader | null> => {
    if (isDamaged || !(await hasTrackedHead(options.folder))) return null;
    try {
      await fetchInto(options, options.folder, commit, null, signal);
      return await openFetched(options.folder, commit);
    } catch (error) {
      if (signal.aborted || isFinal(error)) throw error;
      return null;
    }
  };

  const openFresh = async (commit: CommitId, signal: AbortSignal): Promise<CommitReader> => {
    const fresh = `${options.folder}.next`;
    await makeEmptyFolder(fresh);
    await fetchInto(options, fresh, commit, 1, signal);
    await openFetched(fresh, commit);
    await swapFolder(fresh, options.folder);
    isDamaged = false;
    return await openFetched(options.folder, commit);
  };

  const open = async (commit: CommitId, signal: AbortSignal): Promise<CommitReader> => {
    if (!/^[0-9a-f]{40}$/.test(commit)) throw new AgentError("SOURCE_PROTOCOL", "that is no commit id");
    const cached = await openCached(commit);
    if (cached !== null) return cached;
    const isFull = (await countFiles(`${options.folder}/objects/pack`, ".pack")) > MAX_PACKS;
    const grown = isFull ? null : await openIncrement(commit, signal);
    if (grown !== null) return grown;
    // A cache that is only full serves until the new one stands; a broken one makes room first.
    if (!isFull) await removeFolder(options.folder);
    return await openFresh(commit, signal);
  };

  return {
    // One at a time: the folder is shared.
    open: async (commit, signal) => {
      const mine = last.then(() => open(commit, signal));
      last = mine.catch(() => {});
      return await mine;
    },
  };
}

/** What was read whole and refused for what it says stays refused; all else may be the cache's fault. */
function isFinal(error: unknown): boolean {
  return error instanceof AgentError && (transportCodes.has(error.code) || refusalCodes.has(error.code));
}

function onlyRefusals(error: unknown): null {
  if (error instanceof AgentError && refusalCodes.has(error.code)) throw error;
  return null;
}

/**
 * Fetches one commit: at depth 1 into an empty folder; afterwards without a depth, or the whole tree would come again.
 * The local reference is named in full, because in a bare repository it is what the library offers as already there.
 */
async function fetchInto(
  options: StoreOptions,
  folder: string,
  commit: CommitId,
  depth: number | null,
  signal: AbortSignal,
): Promise<void> {
  const { timeoutMs, maxPackBytes } = options;
  const url = options.http.baseUrl.href.replace(/\/+$/, "");
  const plan = { commit, branch: LOCAL_BRANCH, timeoutMs, maxPackBytes, packLimits: defaultPackLimits, signal };
  try {
    if (depth !== null) {
      await git.init({ fs: gitFs, dir: folder, gitdir: folder, bare: true });
      await git.addRemote({ fs: gitFs, gitdir: folder, remote: "origin", url, force: true });
    }
    await git.fetch({
      fs: gitFs,
      http: createGitHttp(options.http, plan),
      gitdir: folder,
      url,
      remote: "origin",
      ref: LOCAL_REF,
      remoteRef: LOCAL_BRANCH,
      singleBranch: true,
      tags: false,
      ...(depth === null ? {} : { depth }),
      // Each call its own: the library writes into it.
      headers: {},
      cache: {},
    });
  } catch (error) {
    throw toSourceError(error, "the Git library could not store the fetched pack");
  }
}

async function hasTrackedHead(folder: string): Promise<boolean> {
  try {
    return await hasObject(folder, await git.resolveRef({ fs: gitFs, gitdir: folder, ref: LOCAL_REF }));
  } catch {
    return false;
  }
}

async function hasObject(folder: string, commit: CommitId): Promise<boolean> {
  try {
    await createReadObject(folder)(commit, "commit");
    return true;
  } catch {
    return false;
  }
}

/** The library does not hash what it reads from a pack, so it is done here: a name is believed only with its content. */
function createReadObject(folder: string): ReadObject {
  const cache = {};
  return async (oid: string, type: ObjectType) => {
    const found = await git
      .readObject({ fs: gitFs, gitdir: folder, oid, format: "content", cache })
      .catch((error: unknown) => {
        throw toSourceError(error, `the repository lacks the object ${oid} or it cannot be read`);
      });
    const content = Buffer.from(found.object as Uint8Array);
    const hash = createHash("sha1").update(`${found.type} ${content.length}\0`).update(content).digest("hex");
    if (hash === oid && found.type === type) return content;
    throw new AgentError("SOURCE_PROTOCOL", `the object ${oid} is not the ${type} it is named as`);
  };
}

function toSourceError(error: unknown, what: string): AgentError {
  if (error instanceof AgentError) return error;
  const reason = plainText(error instanceof Error ? error.message : String(error), 200);
  const isFileError = typeof (error as NodeJS.ErrnoException | null)?.syscall === "string";
  return new AgentError(isFileError ? "HOST_FILE" : "SOURCE_PROTOCOL", `${what}: ${reason}`, { cause: error });
}
