import { parseCommitObject } from "../../../agent/trust/commit-object.ts";
import type { FuzzTarget } from "../target.ts";

const tree = `tree ${"1".repeat(40)}\n`;
const people = "author A <a@b> 0 +0000\ncommitter C <c@d> 0 +0000\n";
const armor = "-----BEGIN SSH SIGNATURE-----\n U1NIU0lH\n -----END SSH SIGNATURE-----\n";

/** Commit objects: what was parsed must be found in the bytes, and payload and signature together must be all of them. */
export const commit: FuzzTarget = {
  name: "commit",
  seedCorpus: () =>
    [
      `${tree}${people}\nm\n`,
      `${tree}parent ${"2".repeat(40)}\nparent ${"3".repeat(40)}\n${people}gpgsig ${armor}\nm`,
      `${tree}${people}encoding x\nmergetag object y\n type commit\nmergetag z\ngpgsig ${armor}change-id w\n\nm`,
    ].map((text) => Buffer.from(text)),
  run: (bytes) => {
    const parsed = parseCommitObject(bytes);
    if (!parsed.ok) return parsed.why;
    const { signature, parents } = parsed.value;
    if (!bytes.includes(parsed.value.tree)) throw new Error("another tree than the bytes have");
    if (parents.some((parent) => !bytes.includes(`\nparent ${parent}\n`))) throw new Error("another parent");
    if (signature === null) return `unsigned with ${parents.length}`;
    const lines = signature.armored.toString("latin1").split("\n").length - 1;
    if (signature.payload.length + signature.armored.length + lines + "gpgsig".length !== bytes.length) {
      throw new Error("payload and signature are not the whole commit");
    }
    return `signed ${signature.format} with ${parents.length}`;
  },
};
