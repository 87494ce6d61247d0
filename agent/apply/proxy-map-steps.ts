import { type ProxyMap, proxyMaps } from "../compile/proxy-maps.ts";
import { earlier } from "./proxy-times.ts";

/** One change of a map on the way from one release to the next. */
export interface MapStep {
  readonly map: ProxyMap;
  /** Returns what the map holds after it, from what it holds and what the next release has. */
  readonly toLines: (current: ReadonlySet<string>, next: ReadonlySet<string>) => ReadonlySet<string>;
}

/**
 * Before the kernel's turn: denials that come are there, and what no longer opens is gone. The lines that say where a
 * denied network is follow its keys. Both releases' lines mean what they say side by side: a network is called by its text.
 */
export const tightenSteps: readonly MapStep[] = [
  ...[proxyMaps.deny, proxyMaps.regions4, proxyMaps.regions6].map((map) => ({ map, toLines: join })),
  { map: proxyMaps.hours, toLines: earlier },
  ...[proxyMaps.answers, proxyMaps.tls, proxyMaps.http].map((map) => ({ map, toLines: intersect })),
];

/**
 * After it, in this order: what a group may do follows who is in it; a denied network goes before its keys do; a private
 * network comes after its keys, and which zone a name is in comes before both. So at no step is anything open that
 * neither release opens.
 */
export const loosenSteps: readonly MapStep[] = [
  ...([proxyMaps.groups4, proxyMaps.groups6] as const),
  ...([proxyMaps.regions4, proxyMaps.regions6, proxyMaps.deny] as const),
  ...([proxyMaps.zones, proxyMaps.answers, proxyMaps.inner4, proxyMaps.inner6] as const),
  // What a name counts for is known before the name opens; hours that come were there before the kernel's turn.
  ...([proxyMaps.caps, proxyMaps.tls, proxyMaps.http, proxyMaps.hours] as const),
].map((map) => ({ map, toLines: (_current, next) => next }));

/** When hours begin or end: what depends on them, in the same order. */
export const timedSteps: readonly MapStep[] = loosenSteps.filter(
  ({ map }) =>
    ![proxyMaps.groups4, proxyMaps.groups6, proxyMaps.caps, proxyMaps.tls, proxyMaps.http].some(
      (other) => other === map,
    ),
);

/** Maps in which a key may come to have another value: they are taken over whole. Of the others, a few lines go and come one by one. */
export const wholeMaps: ReadonlySet<ProxyMap> = new Set([
  ...([proxyMaps.groups4, proxyMaps.groups6, proxyMaps.caps, proxyMaps.hours] as const),
]);

function join(current: ReadonlySet<string>, next: ReadonlySet<string>): ReadonlySet<string> {
  return new Set([...current, ...next]);
}

function intersect(current: ReadonlySet<string>, next: ReadonlySet<string>): ReadonlySet<string> {
  return new Set([...current].filter((line) => next.has(line)));
}
