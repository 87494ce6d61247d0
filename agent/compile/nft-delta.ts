/** What the text of a policy table says: commands, and the elements of each set or map that only an apply writes. */
interface TableText {
  /** Everything but elements and the commands that empty what holds them. */
  readonly commands: string;
  /** Set or map → its elements as they are written: key → data, empty for a set. */
  readonly elements: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** Sets and maps of ranges. */
  readonly ranged: ReadonlySet<string>;
  /** Set or map → what kind it is, as the command that empties it says; missing for those that are never emptied. */
  readonly kinds: ReadonlyMap<string, string>;
}

const OPENING = "add element inet clawgress ";
const EMPTYING = /^flush (map|set) inet clawgress ([a-z0-9_]+)$/;
/** Holds ranges: the kernel takes one element out of a hash, but a range only together with its neighbours. */
const RANGED = /^add (?:map|set) inet clawgress ([a-z0-9_]+) \{.*\binterval\b/;

/**
 * Returns the transaction that makes the table of one `policy.nft` the table of another, with only the elements that
 * differ; it leaves the same as the other's whole text does. The kernel refuses all of it when an element to take out is
 * not there: then the table was not what the first text says, and the whole text is what to load.
 */
export function tableDelta(before: string, after: string): string {
  if (before === after) return "";
  const old = readTable(before);
  const now = readTable(after);
  const parts = old.commands === now.commands ? [] : [now.commands];
  for (const [set, kind] of now.kinds) {
    const [had, has] = [old.elements.get(set) ?? NONE, now.elements.get(set) ?? NONE];
    if (!old.kinds.has(set)) parts.push(`flush ${kind} inet clawgress ${set}\n`, command("add", set, has));
    else if (!now.ranged.has(set)) parts.push(changes(set, had, has));
    else if (!isSame(had, has)) parts.push(`flush ${kind} inet clawgress ${set}\n`, command("add", set, has));
  }
  // What is never emptied keeps what it has; adding an element again changes nothing.
  for (const [set, elements] of now.elements) if (!now.kinds.has(set)) parts.push(command("add", set, elements));
  return parts.join("");
}

const NONE: ReadonlyMap<string, string> = new Map();

function changes(set: string, had: ReadonlyMap<string, string>, has: ReadonlyMap<string, string>): string {
  const removed = new Map([...had].filter(([key, data]) => has.get(key) !== data));
  const added = new Map([...has].filter(([key, data]) => had.get(key) !== data));
  return command("delete", set, removed) + command("add", set, added);
}

function command(verb: "add" | "delete", set: string, elements: ReadonlyMap<string, string>): string {
  if (elements.size === 0) return "";
  const lines = [...elements].map(([key, data]) => (data === "" ? `${key},\n` : `${key} : ${data},\n`));
  return `${verb} element inet clawgress ${set} {\n${lines.join("")}}\n`;
}

function isSame(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  if (a.size !== b.size) return false;
  for (const [key, data] of a) if (b.get(key) !== data) return false;
  return true;
}

function readTable(text: string): TableText {
  const commands: string[] = [];
  const elements = new Map<string, Map<string, string>>();
  const kinds = new Map<string, string>();
  const ranged = new Set<string>();
  let open: Map<string, string> | null = null;
  for (const line of text.split("\n")) {
    // Which line of the policy a rule comes from means nothing to the kernel.
    const comment = line.indexOf(" # ");
    const said = comment === -1 ? line : line.slice(0, comment);
    if (open !== null) {
      if (said === "}") open = null;
      else addElement(open, said);
      continue;
    }
    const declared = RANGED.exec(said);
    if (declared !== null) ranged.add(declared[1] ?? "");
    const emptied = EMPTYING.exec(said);
    if (emptied !== null) kinds.set(emptied[2] ?? "", emptied[1] ?? "");
    else if (said.startsWith(OPENING)) {
      open = new Map();
      elements.set(said.slice(OPENING.length, -2), open);
    } else commands.push(`${said}\n`);
  }
  return { commands: commands.join("").trimEnd().concat("\n"), elements, kinds, ranged };
}

function addElement(elements: Map<string, string>, line: string): void {
  const said = line.endsWith(",") ? line.slice(0, -1) : line;
  const colon = said.indexOf(" : ");
  if (colon === -1) elements.set(said, "");
  else elements.set(said.slice(0, colon), said.slice(colon + 3));
}
