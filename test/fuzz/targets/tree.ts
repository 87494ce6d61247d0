import { parseTree } from "../../../agent/source/tree.ts";
import type { FuzzTarget } from "../target.ts";

const entry = (mode: string, name: string): Buffer =>
  Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.alloc(20, 7)]);

/** Tree objects: the entries written again must be the bytes. */
export const tree: FuzzTarget = {
  name: "tree",
  seedCorpus: () => [
    Buffer.alloc(0),
    entry("100644", "policy.json"),
    Buffer.concat([entry("100755", "a"), entry("40000", "b"), entry("120000", "c"), entry("160000", "d")]),
  ],
  run: (bytes) => {
    const entries = [...parseTree(bytes).values()];
    const modes = { file: "100644", executable: "100755", folder: "40000", symlink: "120000", submodule: "160000" };
    const again = entries.map(({ kind, rawName, oid }) =>
      Buffer.concat([Buffer.from(`${modes[kind]} ${rawName}\0`, "latin1"), Buffer.from(oid, "hex")]),
    );
    if (!Buffer.concat(again).equals(bytes)) throw new Error("the entries are not the tree");
    return `${entries.length} entries`;
  },
};
