/** Bounds per machine: queries a second, those under way, and different names asked under wildcards. Times are seconds of a monotonic clock. */
export interface ClientTable {
  /** Returns whether a client may ask now, and takes one query from its bound. */
  takeQuery(client: string, nowS: number): boolean;
  /** Returns whether a client may have one more query under way; it counts until `end`. */
  begin(client: string): boolean;
  end(client: string): void;
  /** Returns whether a client may ask for one more name under a wildcard; a name it asked lately is free. */
  takeName(client: string, name: string, nowS: number): boolean;
  size(): number;
  /** Forgets clients that have been silent for long. */
  sweep(nowS: number): void;
}

interface ClientState {
  tokens: number;
  filledS: number;
  /** Name → when it may be forgotten; the oldest first. */
  names: Map<string, number> | null;
}

/** Of all that may be under way, what one client may have: named may take seconds for each. */
const MAX_UNDER_WAY = 512;
/** Over this, the client that came first is forgotten: it begins anew with a full bound. */
const MAX_CLIENTS = 65_536;
/** How long a name counts after it was last asked. Names are counted when asked, not when answered: asking is what a tunnel does. */
const NAME_MEMORY_S = 600;

/** Returns an empty table. A client may ask `maxQueriesPerS` at once and then as many a second. */
export function createClientTable(limits: {
  readonly maxQueriesPerS: number;
  readonly maxNamesPerClient: number;
}): ClientTable {
  const clients = new Map<string, ClientState>();
  const underWay = new Map<string, number>();
  const stateOf = (client: string, nowS: number): ClientState => {
    const known = clients.get(client);
    if (known !== undefined) return known;
    if (clients.size >= MAX_CLIENTS) {
      const oldest = clients.keys().next().value;
      if (oldest !== undefined) clients.delete(oldest);
    }
    const state: ClientState = { tokens: limits.maxQueriesPerS, filledS: nowS, names: null };
    clients.set(client, state);
    return state;
  };
  return {
    takeQuery: (client, nowS) => {
      const state = stateOf(client, nowS);
      const filled = state.tokens + (nowS - state.filledS) * limits.maxQueriesPerS;
      state.tokens = Math.min(limits.maxQueriesPerS, filled);
      state.filledS = nowS;
      if (state.tokens < 1) return false;
      state.tokens -= 1;
      return true;
    },
    begin: (client) => {
      const count = underWay.get(client) ?? 0;
      if (count >= MAX_UNDER_WAY) return false;
      underWay.set(client, count + 1);
      return true;
    },
    end: (client) => {
      const left = (underWay.get(client) ?? 1) - 1;
      if (left === 0) underWay.delete(client);
      else underWay.set(client, left);
    },
    takeName: (client, name, nowS) => {
      const state = stateOf(client, nowS);
      state.names ??= new Map();
      const names = state.names;
      const isKnown = names.delete(name);
      for (const [oldName, untilS] of names) {
        if (untilS > nowS) break;
        names.delete(oldName);
      }
      if (!isKnown && names.size >= limits.maxNamesPerClient) return false;
      names.set(name, nowS + NAME_MEMORY_S);
      return true;
    },
    size: () => clients.size,
    sweep: (nowS) => {
      for (const [client, state] of clients) {
        const lastNameS = state.names === null ? 0 : ([...state.names.values()].at(-1) ?? 0);
        if (state.filledS + 60 < nowS && lastNameS < nowS) clients.delete(client);
      }
    },
  };
}
