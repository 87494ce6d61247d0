import { type AddressRange, compareRanges, rangeToCidrs } from "../policy/cidr.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import type { Cidr, Place } from "../policy/policy.ts";
import { refuseRule } from "./tokens.ts";

/** A network, as a range that one network is, and something that holds in all of it. */
export interface NetworkKey {
  readonly range: AddressRange;
  readonly key: string;
  readonly place: Place;
}

/** A network and all that holds in it, sorted: its own keys, and those of every network around it. */
export interface KeyedNetwork {
  readonly network: Cidr;
  readonly keys: readonly string[];
}

const MAX_KEYS = 2_000_000;

/**
 * Returns each network once with what holds in it, so that who looks up the longest one that holds an address need not
 * look further. Sorted. A network is called by its own text and not by a number: between two releases the lines of both
 * can stand side by side and mean what they say.
 * @throws AgentError POLICY_INVALID when networks within networks come to too many keys.
 */
export function nestNetworks(entries: readonly NetworkKey[]): readonly KeyedNetwork[] {
  const sorted = entries.toSorted((a, b) => compareRanges(a.range, b.range));
  const networks: KeyedNetwork[] = [];
  const open: { readonly range: AddressRange; readonly keys: Set<string>; readonly parent: ReadonlySet<string> }[] = [];
  let left = MAX_KEYS;
  const closeBefore = (range: AddressRange | null): void => {
    for (let top = open.at(-1); top !== undefined && !holds(top.range, range); top = open.at(-1)) {
      open.pop();
      const [network] = rangeToCidrs(top.range);
      // What says no more than the network around it is not needed.
      if (network !== undefined && top.keys.size > top.parent.size) {
        networks.push({ network, keys: [...top.keys].sort(compareTexts) });
      }
    }
  };
  for (const { range, key, place } of sorted) {
    closeBefore(range);
    const around = open.at(-1);
    if (around !== undefined && compareRanges(around.range, range) === 0) {
      around.keys.add(key);
      left -= 1;
    } else {
      const parent = around?.keys ?? new Set<string>();
      open.push({ range, keys: new Set([...parent, key]), parent });
      left -= parent.size + 1;
    }
    if (left < 0) throw tooMany(place);
  }
  closeBefore(null);
  return networks.sort((a, b) => compareTexts(a.network, b.network));
}

function holds(outer: AddressRange, inner: AddressRange | null): boolean {
  return inner !== null && outer.family === inner.family && inner.last <= outer.last;
}

function tooMany(place: Place): Error {
  return refuseRule(
    place,
    `networks within networks come to more than ${MAX_KEYS} lines in SNI mode`,
    "list fewer networks within others, or let fewer hosts have lists of their own",
  );
}
