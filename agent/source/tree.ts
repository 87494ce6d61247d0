import { AgentError } from "../errors.ts";
import { plainText } from "../plain-text.ts";

export type TreeEntryKind = "file" | "executable" | "symlink" | "folder" | "submodule";

export interface TreeEntry {
  readonly kind: TreeEntryKind;
  /** Bytes of the name, one character each: names need not be UTF-8. */
  readonly rawName: string;
  readonly oid: string;
}

const kinds: { readonly [mode: string]: TreeEntryKind } = {
  "100644": "file",
  "100755": "executable",
  "120000": "symlink",
  "40000": "folder",
  "160000": "submodule",
};
const MAX_ENTRIES = 100_000;
const OID_BYTES = 20;

/**
 * Returns the entries of a tree object, by raw name. Stricter than Git's own readers: known modes only, names that cannot
 * leave the tree, Git's order, no name twice (a reviewer and a program could see different ones).
 * @throws AgentError SOURCE_FILE for anything else, SOURCE_TOO_LARGE past 100,000 entries
 */
export function parseTree(bytes: Buffer): ReadonlyMap<string, TreeEntry> {
  const entries = new Map<string, TreeEntry>();
  let previousKey = "";
  let at = 0;
  while (at < bytes.length) {
    const space = bytes.indexOf(0x20, at);
    const nul = space === -1 ? -1 : bytes.indexOf(0, space);
    if (nul === -1 || nul + 1 + OID_BYTES > bytes.length) throw broken("an entry is cut off");
    const mode = bytes.toString("latin1", at, Math.min(space, at + 8));
    const rawName = bytes.toString("latin1", space + 1, nul);
    const kind = Object.hasOwn(kinds, mode) ? kinds[mode] : undefined;
    if (kind === undefined) throw broken(`${nameText(rawName)} has the unknown mode ${plainText(mode, 10)}`);
    refuseName(rawName);
    // Git sorts folders as if their names ended with a slash; Latin-1 keeps the order of the bytes.
    const key = kind === "folder" ? `${rawName}/` : rawName;
    if (entries.has(rawName)) throw broken(`${nameText(rawName)} is there twice`);
    if (key <= previousKey) throw broken(`${nameText(rawName)} is out of order`);
    if (entries.size >= MAX_ENTRIES) {
      throw new AgentError("SOURCE_TOO_LARGE", `a folder has more than ${MAX_ENTRIES} entries`);
    }
    previousKey = key;
    at = nul + 1 + OID_BYTES;
    entries.set(rawName, { kind, rawName, oid: bytes.toString("hex", nul + 1, at) });
  }
  return entries;
}

function refuseName(rawName: string): void {
  const isSpecial = rawName === "" || rawName === "." || rawName === ".." || rawName.toLowerCase() === ".git";
  if (isSpecial || rawName.includes("/")) throw broken(`it has an entry with the name ${nameText(rawName)}`);
}

function nameText(rawName: string): string {
  return `'${plainText(Buffer.from(rawName, "latin1").toString("utf8"), 80)}'`;
}

function broken(why: string): AgentError {
  return new AgentError("SOURCE_FILE", `a folder of the commit is malformed: ${why}`, {
    remedy: "make the commit again with an ordinary Git client",
  });
}
