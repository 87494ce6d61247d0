import { AgentError } from "../errors.ts";
import { plainText } from "../plain-text.ts";
import { type CommitObject, MAX_COMMIT_BYTES, parseCommitObject } from "../trust/commit-object.ts";
import type { CommitId, CommitReader } from "./source.ts";
import { parseTree, type TreeEntry, type TreeEntryKind } from "./tree.ts";

export type ObjectType = "commit" | "tree" | "blob";

/** Returns the content of an object of that type and name, its hash checked. @throws AgentError SOURCE_PROTOCOL */
export type ReadObject = (oid: string, type: ObjectType) => Promise<Buffer>;

const MAX_PATH_CHARACTERS = 1024;
const MAX_PATH_DEPTH = 32;

const kindTexts: { readonly [kind in Exclude<TreeEntryKind, "file">]: string } = {
  executable: "an executable file",
  symlink: "a symbolic link",
  folder: "a folder",
  submodule: "a submodule",
};

/** Returns a reader of one commit's files that walks only the paths it is asked for. @throws AgentError SOURCE_PROTOCOL, SOURCE_COMMIT, SOURCE_FILE, SOURCE_TOO_LARGE */
export async function openCommit(commit: CommitId, readObject: ReadObject): Promise<CommitReader> {
  const raw = await readObject(commit, "commit");
  if (raw.length > MAX_COMMIT_BYTES) {
    throw new AgentError("SOURCE_TOO_LARGE", `the commit object ${commit} has more than ${MAX_COMMIT_BYTES} bytes`);
  }
  const object = readCommitObject(commit, raw);
  const root = object.tree;
  const trees = new Map<string, ReadonlyMap<string, TreeEntry>>();
  const readTree = async (oid: string): Promise<ReadonlyMap<string, TreeEntry>> => {
    const known = trees.get(oid);
    if (known !== undefined) return known;
    const tree = parseTree(await readObject(oid, "tree"));
    trees.set(oid, tree);
    return tree;
  };
  /** Returns the entry at a path, or null; only real folders are walked through. */
  const find = async (path: string): Promise<TreeEntry | null> => {
    let at: TreeEntry = { kind: "folder", rawName: "", oid: root };
    for (const name of splitPath(path)) {
      if (at.kind === "symlink" || at.kind === "submodule") throw wrongKind(path, at, "lies behind");
      if (at.kind !== "folder") return null;
      const next = (await readTree(at.oid)).get(name);
      if (next === undefined) return null;
      at = next;
    }
    return at;
  };
  // Opening reads the root folder, so that a commit whose tree did not come is not taken for a good one.
  await readTree(root);
  return {
    commit,
    raw,
    object,
    readFile: async (path, maxBytes) => {
      const entry = await find(path);
      if (entry === null) return null;
      if (entry.kind !== "file") throw wrongKind(path, entry, "is");
      const bytes = await readObject(entry.oid, "blob");
      if (bytes.length <= maxBytes) return bytes;
      throw new AgentError(
        "SOURCE_TOO_LARGE",
        `${plainText(path, 200)} has ${bytes.length} bytes; at most ${maxBytes} are read`,
      );
    },
    listFiles: async (folder, maxEntries) => {
      const entry = folder === "" ? { kind: "folder" as const, rawName: "", oid: root } : await find(folder);
      if (entry === null) return [];
      if (entry.kind !== "folder") throw wrongKind(folder, entry, "is");
      const tree = await readTree(entry.oid);
      if (tree.size > maxEntries) {
        const text = `${plainText(folder, 200)} has ${tree.size} entries; at most ${maxEntries} are read`;
        throw new AgentError("SOURCE_TOO_LARGE", text);
      }
      const files = [...tree.values()].filter((candidate) => candidate.kind === "file");
      return files.map((file) => decodeName(file.rawName, folder)).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    },
  };
}

/** Returns a commit object taken apart. @throws AgentError SOURCE_COMMIT */
export function readCommitObject(commit: CommitId, raw: Buffer): CommitObject {
  const parsed = parseCommitObject(raw);
  if (parsed.ok) return parsed.value;
  throw new AgentError("SOURCE_COMMIT", `the commit object ${commit} is malformed: ${parsed.why}`, {
    remedy:
      "make the commit again with an ordinary Git client; if nobody made it by accident, somebody tries to show two commits in one",
  });
}

/** Returns a path's names as raw bytes. @throws AgentError SOURCE_FILE for a path that could mean something else elsewhere */
function splitPath(path: string): readonly string[] {
  const names = path.split("/");
  const isPlain = names.every((name) => name !== "" && name !== "." && name !== ".." && !name.includes("\0"));
  if (isPlain && path.length <= MAX_PATH_CHARACTERS && names.length <= MAX_PATH_DEPTH) {
    return names.map((name) => Buffer.from(name, "utf8").toString("latin1"));
  }
  throw new AgentError("SOURCE_FILE", `'${plainText(path, 200)}' is not a path within the repository`, {
    remedy: "write it relative, with single slashes, and without . and ..",
  });
}

/** A name that is not UTF-8 or holds control characters cannot be shown, compared or signed for as what it is. */
function decodeName(rawName: string, folder: string): string {
  const bytes = Buffer.from(rawName, "latin1");
  const name = bytes.toString("utf8");
  if (Buffer.from(name, "utf8").equals(bytes) && !/\p{Cc}/u.test(name)) return name;
  throw new AgentError("SOURCE_FILE", `${plainText(folder, 200)} has a file whose name is not plain UTF-8`);
}

function wrongKind(path: string, entry: TreeEntry, verb: "is" | "lies behind"): AgentError {
  const kind = entry.kind === "file" ? "a file" : kindTexts[entry.kind];
  return new AgentError("SOURCE_FILE", `${plainText(path, 200)} ${verb} ${kind}`, {
    remedy: "commit it as a regular file with mode 100644",
    details: { kind: entry.kind },
  });
}
