import { type DecisionKey, keyValues } from "./decision.ts";

/** Gives each distinct key a small number, for as long as rows use it. */
export interface KeyTable {
  /** Returns the number of a key and counts one more use of it; null when it is new and `onlyKnown`, or there is no room. */
  take(key: DecisionKey, onlyKnown: boolean): number | null;
  /** Counts more uses of a number. */
  use(id: number, uses: number): void;
  /** Gives back a number of uses. */
  release(id: number, uses: number): void;
  key(id: number): DecisionKey;
  /** One more than the highest number in use. */
  readonly limit: number;
  readonly size: number;
}

/** A missing value is told from an empty one; no value holds the separator. */
function keyText(key: DecisionKey): string {
  return keyValues(key)
    .map((value) => value ?? "\x01")
    .join("\0");
}

/** Returns an empty table of at most `maxKeys` keys. */
export function createKeyTable(maxKeys: number): KeyTable {
  const ids = new Map<string, number>();
  const keys: (DecisionKey | null)[] = [];
  const texts: string[] = [];
  const uses: number[] = [];
  const free: number[] = [];
  return {
    take: (key, onlyKnown) => {
      const text = keyText(key);
      const known = ids.get(text);
      if (known !== undefined) {
        uses[known] = (uses[known] ?? 0) + 1;
        return known;
      }
      if (onlyKnown || ids.size >= maxKeys) return null;
      const id = free.pop() ?? keys.length;
      ids.set(text, id);
      [keys[id], texts[id], uses[id]] = [key, text, 1];
      return id;
    },
    use: (id, count) => {
      uses[id] = (uses[id] ?? 0) + count;
    },
    release: (id, count) => {
      uses[id] = (uses[id] ?? 0) - count;
      if ((uses[id] ?? 0) > 0) return;
      ids.delete(texts[id] ?? "");
      [keys[id], texts[id], uses[id]] = [null, "", 0];
      free.push(id);
    },
    key: (id) => {
      const key = keys[id];
      if (key === null || key === undefined) throw new RangeError(`no key has the number ${id}`);
      return key;
    },
    get limit() {
      return keys.length;
    },
    get size() {
      return ids.size;
    },
  };
}
