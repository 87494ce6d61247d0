import { type Attempt, attempt, Refusal } from "./ssh-wire.ts";

export const MAX_COMMIT_BYTES = 1024 * 1024;
/** Git itself makes merges of at most 16 parents. */
const MAX_PARENTS = 64;
const MAX_HEADERS = 256;

/** A commit object taken apart: what it names, and what was signed by whom, byte for byte. */
export interface CommitObject {
  /** 40 lower-case hex digits, as all names here. */
  readonly tree: string;
  /** In the order of the object; each once. */
  readonly parents: readonly string[];
  /** Name and address of the committer as they are written; anybody can write anything there. */
  readonly committer: string;
  readonly signature: CommitSignature | null;
}

export interface CommitSignature {
  readonly format: "ssh" | "openpgp" | "x509" | "unknown";
  /** As the program that signed printed it, with its last newline. */
  readonly armored: Buffer;
  /** The bytes of the object without the signature's own lines: what was signed. */
  readonly payload: Buffer;
}

interface Line {
  readonly start: number;
  /** Behind the newline. */
  readonly end: number;
  readonly text: string;
}

const SIGNATURE = "gpgsig";
const ID = /^[0-9a-f]{40}$/;
/** Headers that come exactly once, in this order, after the parents; the date within is nobody's proof of anything. */
const PEOPLE = ["author", "committer"] as const;

const formats: readonly (readonly [firstLine: string, format: CommitSignature["format"]])[] = [
  ["-----BEGIN SSH SIGNATURE-----", "ssh"],
  ["-----BEGIN PGP SIGNATURE-----", "openpgp"],
  ["-----BEGIN PGP MESSAGE-----", "openpgp"],
  ["-----BEGIN SIGNED MESSAGE-----", "x509"],
];

/**
 * Returns a commit object taken apart, or why it is malformed. Two readers of one commit must never see two trees, so
 * everything is refused that Git writes in one way only: `tree` first and once, `parent`s next, `author` and `committer`
 * once each, at most one `gpgsig`, no header after the fact that belongs before, no NUL, an empty line before the message.
 * Carriage returns and a missing last newline are kept: what was signed is what is there. Dates are not read.
 */
export function parseCommitObject(raw: Buffer): Attempt<CommitObject> {
  return attempt(() => {
    if (raw.length > MAX_COMMIT_BYTES) throw new Refusal(`it has more than ${MAX_COMMIT_BYTES} bytes`);
    if (raw.includes(0)) throw new Refusal("it has a NUL byte");
    return readHeaders(raw, splitHeaders(raw));
  });
}

/** Returns the lines before the empty line. */
function splitHeaders(raw: Buffer): readonly Line[] {
  const lines: Line[] = [];
  for (let start = 0; ; ) {
    const newline = raw.indexOf(0x0a, start);
    if (newline === -1) throw new Refusal("no empty line ends its headers");
    if (newline === start) return lines;
    lines.push({ start, end: newline + 1, text: raw.toString("latin1", start, newline) });
    start = newline + 1;
  }
}

function readHeaders(raw: Buffer, lines: readonly Line[]): CommitObject {
  let at = 0;
  /** Takes the next header when it has that name; it must not go on in a second line. */
  const take = (name: string): string | null => {
    const { text = "" } = lines[at] ?? {};
    if (!text.startsWith(`${name} `)) return null;
    at += 1;
    if (lines[at]?.text.startsWith(" ")) throw new Refusal(`its ${name} header goes on in a second line`);
    return text.slice(name.length + 1);
  };
  const tree = take("tree");
  if (tree === null || !ID.test(tree)) throw new Refusal("it does not begin with its one tree header");
  const parents: string[] = [];
  for (let parent = take("parent"); parent !== null; parent = take("parent")) {
    if (!ID.test(parent)) throw new Refusal("a parent header is not the name of a commit");
    if (parents.includes(parent)) throw new Refusal("it names a parent twice");
    if (parents.push(parent) > MAX_PARENTS) throw new Refusal(`it has more than ${MAX_PARENTS} parents`);
  }
  const [author, committer] = PEOPLE.map(take);
  if (!author || !committer) throw new Refusal("author and committer do not follow, once each");
  return { tree, parents, committer, signature: readSignature(raw, lines, at) };
}

/** Reads what may follow the committer: encodings, tags that were merged, notes of other programs, and one signature. */
function readSignature(raw: Buffer, lines: readonly Line[], first: number): CommitSignature | null {
  let found: { readonly from: number; to: number } | null = null;
  let name = "";
  const headers = new Set<string>();
  for (const [offset, { text }] of lines.slice(first).entries()) {
    const index = first + offset;
    if (text.startsWith(" ")) {
      if (name === SIGNATURE && found !== null) found.to = index + 1;
      continue;
    }
    name = /^([A-Za-z][A-Za-z0-9-]*) ./.exec(text)?.[1] ?? "";
    if (name === "") throw new Refusal("a header has no name or no value");
    refuseHeader(name, headers);
    headers.add(name);
    if (headers.size > MAX_HEADERS) throw new Refusal(`it has more than ${MAX_HEADERS} kinds of headers`);
    if (name === SIGNATURE) found = { from: index, to: index + 1 };
  }
  return found === null ? null : cutSignature(raw, lines.slice(found.from, found.to));
}

/** A header that has its place further up, or a second one of what there is once, is there to be read differently by somebody. */
function refuseHeader(name: string, seen: ReadonlySet<string>): void {
  const lower = name.toLowerCase();
  if (["tree", "parent", ...PEOPLE].includes(lower)) throw new Refusal(`a second or misplaced ${lower} header`);
  if (lower.startsWith(SIGNATURE) && name !== SIGNATURE) throw new Refusal(`a signature header ${name}`);
  if (seen.has(name) && name !== "mergetag") throw new Refusal(`a second ${name} header`);
}

function cutSignature(raw: Buffer, lines: readonly Line[]): CommitSignature {
  const [first, last] = [lines[0], lines.at(-1)];
  if (first === undefined || last === undefined) throw new Refusal("its signature is empty");
  const pieces = lines.map(({ start, end }, index) =>
    raw.subarray(start + (index === 0 ? SIGNATURE.length + 1 : 1), end),
  );
  const firstLine = first.text.slice(SIGNATURE.length + 1);
  return {
    format: formats.find(([begin]) => begin === firstLine)?.[1] ?? "unknown",
    armored: Buffer.concat(pieces),
    payload: Buffer.concat([raw.subarray(0, first.start), raw.subarray(last.end)]),
  };
}
