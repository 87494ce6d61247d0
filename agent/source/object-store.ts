import { AgentError, type Code } from "../errors.ts";
import { removeFolder } from "../host/folders.ts";
import type { HttpClient } from "../host/http.ts";
import { createTurn } from "../host/turn.ts";
import { parseAdvertisement } from "./advertisement.ts";
import { openCommit } from "./commit-reader.ts";
import { type ParentsOf, reaches } from "./commit-walk.ts";
import { encodeFetchRequest, type FetchRequest } from "./fetch-request.ts";
import { getAdvertisement, postUploadPack } from "./git-server.ts";
import { defaultPackLimits, indexPack } from "./pack-index.ts";
import { addPack, emptyStore, loadStore, type PackStore, parentsInStore, readFromStore } from "./pack-store.ts";
import type { CommitId, CommitReader, Relation } from "./source.ts";
import { createUploadPackReader, type UploadPackAnswer } from "./upload-pack.ts";

export interface StoreOptions {
  /** A folder of packs that is only a cache: whatever is wrong with it, it is fetched again. */
  readonly folder: string;
  readonly timeoutMs: number;
  readonly maxPackBytes: number;
}

export interface ObjectStore {
  /** Returns a reader of a commit, fetching what is not there yet. The reader serves until the next call. @throws AgentError SOURCE_*, HOST_FILE */
  open(http: HttpClient, commit: CommitId, signal: AbortSignal): Promise<CommitReader>;
  /** @see Source.relate */
  relate(http: HttpClient, floor: CommitId, head: CommitId, signal: AbortSignal): Promise<Relation>;
}

interface Server {
  readonly http: HttpClient;
  readonly signal: AbortSignal;
}

/** Each fetch adds a pack, and every read may go through all of them. */
const MAX_PACKS = 50;
/** A server without protocol v2 lists every reference there is. */
const MAX_ADVERTISEMENT_BYTES = 16 * 1024 * 1024;
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

/** The server has nothing of what is here: an answer would be its whole history. */
class NothingInCommon extends AgentError {
  constructor() {
    super("SOURCE_PROTOCOL", "the server has none of the commits that are here");
  }
}

/** Returns a store of the commits that were fetched. Nothing is touched before the first call. */
export function openObjectStore(options: StoreOptions): ObjectStore {
  const { folder, maxPackBytes } = options;
  /** Null before it is loaded, and when it turned out to be damaged. */
  let store: PackStore | null = null;
  let isDamaged = false;

  const openStored = async (from: PackStore, commit: CommitId): Promise<CommitReader> => {
    const readObject = readFromStore(folder, from);
    return await openCommit(commit, async (oid, type) => {
      try {
        return await readObject(oid, type);
      } catch (error) {
        isDamaged = true;
        throw error;
      }
    });
  };

  const loaded = async (): Promise<PackStore> => {
    if (isDamaged) store = emptyStore;
    isDamaged = false;
    store ??= (await loadStore(folder, maxPackBytes)) ?? emptyStore;
    return store;
  };

  const fetchInto = async (before: PackStore, request: FetchRequest, from: Server): Promise<CommitReader> => {
    const { pack, shallowLines } = await fetchPack(options, request, from);
    const index = await indexPack(pack, defaultPackLimits);
    const shallow = shallowLines.filter((line) => line.startsWith("shallow ")).map((line) => line.slice(8));
    store = await addPack(folder, before, { pack, index, tip: request.want, shallow });
    return await openStored(store, request.want);
  };

  /** Returns a reader when the commit and its root folder are there already, else null. */
  const openCached = async (commit: CommitId): Promise<CommitReader | null> => {
    const current = await loaded();
    if (parentsInStore(current)(commit) === undefined) return null;
    return await openStored(current, commit).catch(onlyRefusals);
  };

  /** Returns a reader after a fetch of what is new, or null when the cache is not fit for that. */
  const openIncrement = async (commit: CommitId, from: Server): Promise<CommitReader | null> => {
    const current = await loaded();
    if (current.tips.length === 0 || isFull(current, maxPackBytes)) return null;
    const { tips, shallow } = current;
    try {
      const request = { want: commit, haves: tips, shallow, depth: null, onlyCommits: false };
      return await fetchInto(current, request, from);
    } catch (error) {
      if (from.signal.aborted || isFinal(error)) throw error;
      return null;
    }
  };

  /** The old store serves until the new one stands, in the same folder. */
  const openFresh = async (commit: CommitId, from: Server): Promise<CommitReader> => {
    const request = { want: commit, haves: [], shallow: [], depth: 1, onlyCommits: false } as const;
    try {
      return await fetchInto(emptyStore, request, from);
    } catch (error) {
      if (!(error instanceof AgentError) || error.code !== "HOST_FILE") throw error;
      // Something else is in the place of the folder.
      await removeFolder(folder);
      return await fetchInto(emptyStore, request, from);
    }
  };

  const open = async (commit: CommitId, from: Server): Promise<CommitReader> => {
    requireName(commit);
    return (await openCached(commit)) ?? (await openIncrement(commit, from)) ?? (await openFresh(commit, from));
  };

  const relate = async (floor: CommitId, head: CommitId, from: Server): Promise<Relation> => {
    requireName(floor);
    requireName(head);
    if (floor === head) return "same";
    const here = parentsInStore(await loaded());
    if (reaches(head, floor, here)) return "forward";
    if (reaches(floor, head, here)) return "behind";
    return await relateByServer(options, { floor, head, here }, from);
  };

  /** One at a time: the folder is shared. */
  const inTurn = createTurn();
  return {
    open: (http, commit, signal) => inTurn(() => open(commit, { http, signal })),
    relate: (http, floor, head, signal) => inTurn(() => relate(floor, head, { http, signal })),
  };
}

/**
 * Asks the server for the commits between: all that `head` has and `floor` has not. Their names are hashes, so that a way from
 * head to floor is proved by them alone, however deep the clone is. An honest server sends them all; so where there is no
 * way, there is none, or the server withholds it, and either is what must be said.
 */
async function relateByServer(
  options: StoreOptions,
  { floor, head, here }: { floor: CommitId; head: CommitId; here: ParentsOf },
  from: Server,
): Promise<Relation> {
  const onlyCommits = await canFilter(options, from);
  const request = { want: head, haves: [floor], shallow: [], depth: null, onlyCommits };
  try {
    const { pack } = await fetchPack(options, request, from);
    const { objects, parents } = await indexPack(pack, defaultPackLimits);
    if (objects.size === 0) return "behind";
    return reaches(head, floor, (commit) => parents.get(commit) ?? here(commit)) ? "forward" : "apart";
  } catch (error) {
    if (error instanceof NothingInCommon) return "apart";
    throw error;
  }
}

async function canFilter({ timeoutMs }: StoreOptions, { http, signal }: Server): Promise<boolean> {
  try {
    const limits = { timeoutMs, maxBytes: MAX_ADVERTISEMENT_BYTES, signal };
    return parseAdvertisement(await getAdvertisement(http, limits)).canFilter;
  } catch (error) {
    if (signal.aborted) throw error;
    // Then the files come along: more bytes, and the same commits.
    return false;
  }
}

async function fetchPack(
  { timeoutMs, maxPackBytes }: StoreOptions,
  request: FetchRequest,
  { http, signal }: Server,
): Promise<UploadPackAnswer> {
  const reader = createUploadPackReader(maxPackBytes, () => {
    if (request.haves.length > 0) throw new NothingInCommon();
  });
  await postUploadPack(http, encodeFetchRequest(request), "v0", {
    timeoutMs,
    // The pack in side-band packets of any size, and progress lines that are thrown away.
    maxBytes: maxPackBytes + Math.ceil(maxPackBytes / 8) + 1024 * 1024,
    signal,
    onChunk: reader.push,
  });
  return reader.finish();
}

function isFull({ packs }: PackStore, maxPackBytes: number): boolean {
  const bytes = packs.reduce((sum, pack) => sum + pack.bytes, 0);
  return packs.length >= MAX_PACKS || bytes > 2 * maxPackBytes;
}

function requireName(commit: CommitId): void {
  if (!/^[0-9a-f]{40}$/.test(commit)) throw new AgentError("SOURCE_PROTOCOL", "that is no commit id");
}

/** What was read whole and refused for what it says stays refused; all else may be the cache's fault. */
function isFinal(error: unknown): boolean {
  return error instanceof AgentError && (transportCodes.has(error.code) || refusalCodes.has(error.code));
}

function onlyRefusals(error: unknown): null {
  if (error instanceof AgentError && refusalCodes.has(error.code)) throw error;
  return null;
}
