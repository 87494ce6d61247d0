import type { Place } from "../policy/policy.ts";

/*
 * Where the rules of a shard are written, in the order in which the shard has them: a first line with the lists that they
 * stand in, as JSON, then for each rule its line, its column, its list and its index there. Names are not said again, so
 * that 100,000 places, which all move with a new line above them, are 2 MB.
 */

/** What the place of an entry that is in no list has for an index. */
const NO_INDEX = "-";

/** Returns the text of some places. */
export function renderPlaces(places: Iterable<Place>): string {
  const lists = new Map<string, number>();
  const lines: string[] = [];
  let last = { file: "", pointer: "", list: -1 };
  for (const { file, line, column, pointer } of places) {
    const [listPointer, index] = splitPlace(pointer);
    if (last.file !== file || last.pointer !== listPointer || last.list < 0) {
      const key = JSON.stringify([file, listPointer]);
      const list = lists.get(key) ?? lists.size;
      lists.set(key, list);
      last = { file, pointer: listPointer, list };
    }
    lines.push(`${line} ${column} ${last.list} ${index}\n`);
  }
  return `[${[...lists.keys()].join(",")}]\n${lines.join("")}`;
}

function splitPlace(pointer: string): readonly [list: string, index: string] {
  const slash = pointer.lastIndexOf("/");
  for (let at = slash + 1; at < pointer.length; at++) if (!isDigit(pointer.charCodeAt(at))) return [pointer, NO_INDEX];
  const isIndexed = slash >= 0 && slash < pointer.length - 1;
  return isIndexed ? [pointer.slice(0, slash), pointer.slice(slash + 1)] : [pointer, NO_INDEX];
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

/** Returns the place of a rule by its number in the shard. @throws RangeError when there is none */
export function readPlace(bytes: Buffer, ordinal: number): Place {
  let start = bytes.indexOf("\n") + 1;
  const head = start;
  for (let passed = 0; passed < ordinal && start > 0; passed++) start = bytes.indexOf("\n", start) + 1;
  const end = bytes.indexOf("\n", start);
  if (head === 0 || start === 0 || end < 0) throw new RangeError(`there is no place ${ordinal}`);
  return parseLine(parseLists(bytes.toString("utf8", 0, head)), bytes.toString("latin1", start, end));
}

/** Returns all places of a shard. @throws RangeError when they are none */
export function readPlaces(bytes: Buffer): readonly Place[] {
  const [head = "", ...lines] = bytes.toString("utf8").split("\n");
  const lists = parseLists(head);
  return lines.slice(0, -1).map((line) => parseLine(lists, line));
}

type Lists = readonly (readonly [file: string, pointer: string])[];

function parseLists(text: string): Lists {
  return JSON.parse(text) as Lists;
}

function parseLine(lists: Lists, text: string): Place {
  const [line, column, list, index = NO_INDEX] = text.split(" ");
  const found = lists[Number(list)];
  if (found === undefined) throw new RangeError(`no place: ${JSON.stringify(text)}`);
  const [file, pointer] = found;
  return {
    ...{ file, line: Number(line), column: Number(column) },
    pointer: index === NO_INDEX ? pointer : `${pointer}/${index}`,
  };
}
