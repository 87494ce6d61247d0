import { type DecisionKey, keyText } from "./decision.ts";

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
      [keys[id], texts[id], uses[id]] = [copyKey(key), text, 1];
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

/** Copies are all made here, field by field: the engine reads 100,000 objects of one make in a tenth of the time. */
function copyKey(key: DecisionKey): DecisionKey {
  return {
    plane: key.plane,
    verdict: key.verdict,
    reason: key.reason,
    client: key.client,
    host: key.host,
    name: key.name,
    type: key.type,
    destination: key.destination,
    port: key.port,
    protocol: key.protocol,
    label: key.label,
    rule: key.rule,
  };
}
