import { accept, type Parsed, quoteText, refuse } from "./parsed.ts";
import type { PortRange, Protocol } from "./policy.ts";

const LOWEST = 1;
const HIGHEST = 65_535;
const portPattern = /^([0-9]{1,5})(?:-([0-9]{1,5}))?(?:\/(tcp|udp))?$/;
const remedy = 'write 443, "443/udp", "8000-8100" or "8000-8100/udp"; ports are 1 to 65535';

/** What an `allow` without `ports` opens. */
export const DEFAULT_PORTS: readonly PortRange[] = [53, 80, 443].map((port) => ({
  protocol: "tcp",
  first: port,
  last: port,
}));

/** Returns the ports that an entry of `ports` means: a number or text of TCP, and UDP only where it ends in `/udp`. */
export function parsePortRange(entry: number | string): Parsed<PortRange> {
  const match = portPattern.exec(String(entry));
  if (match === null) return refuse(`${quoteText(String(entry))} is no port`, remedy);
  const [, firstText = "", lastText = firstText, protocol = "tcp"] = match;
  const hasLeadingZero = /^0/.test(firstText) || /^0/.test(lastText);
  const first = Number(firstText);
  const last = Number(lastText);
  if (hasLeadingZero || first < LOWEST || last > HIGHEST)
    return refuse(`${quoteText(String(entry))} is no port`, remedy);
  if (first > last) return refuse(`the range ${firstText}-${lastText} is empty`, `write "${last}-${first}"`);
  return accept({ protocol: protocol === "udp" ? "udp" : "tcp", first, last });
}

/** Returns the canonical text of a range: `443/tcp`, `8000-8100/udp`. */
export function portText(range: PortRange): string {
  const ports = range.first === range.last ? `${range.first}` : `${range.first}-${range.last}`;
  return `${ports}/${range.protocol}`;
}

/** Orders by protocol (tcp first), first port, last port. */
export function comparePorts(a: PortRange, b: PortRange): number {
  if (a.protocol !== b.protocol) return a.protocol < b.protocol ? -1 : 1;
  return a.first - b.first || a.last - b.last;
}

/** Returns the ranges sorted and without repetition, each as it was written. */
export function sortPorts(ranges: readonly PortRange[]): readonly PortRange[] {
  const sorted = ranges.toSorted(comparePorts);
  return sorted.filter((range, index) => {
    const previous = sorted[index - 1];
    return previous === undefined || comparePorts(previous, range) !== 0;
  });
}

/** Returns the same ports as sorted ranges that neither overlap nor touch. */
export function unionPorts(ranges: readonly PortRange[]): readonly PortRange[] {
  const union: PortRange[] = [];
  for (const range of ranges.toSorted(comparePorts)) {
    const previous = union.at(-1);
    if (previous?.protocol === range.protocol && range.first <= previous.last + 1) {
      union[union.length - 1] = { ...previous, last: Math.max(previous.last, range.last) };
    } else union.push({ protocol: range.protocol, first: range.first, last: range.last });
  }
  return union;
}

/** Returns the ranges without some ports: those that hold none stay as they were written, the others are cut. */
export function withoutPorts(ranges: readonly PortRange[], holes: readonly PortRange[]): readonly PortRange[] {
  return holes.reduce((left, hole) => left.flatMap((range) => cutPorts(range, hole)), ranges);
}

function cutPorts(range: PortRange, hole: PortRange): readonly PortRange[] {
  if (range.protocol !== hole.protocol || hole.last < range.first || range.last < hole.first) return [range];
  const parts = [
    { protocol: range.protocol, first: range.first, last: hole.first - 1 },
    { protocol: range.protocol, first: hole.last + 1, last: range.last },
  ];
  return parts.filter(({ first, last }) => first <= last);
}

/** Returns whether one of the ranges covers a port. */
export function includesPort(ranges: readonly PortRange[], protocol: Protocol, port: number): boolean {
  return ranges.some((range) => range.protocol === protocol && range.first <= port && port <= range.last);
}

/**
 * Returns the atoms of some ranges: sorted, disjoint, covering the same ports, and such that every given range is a
 * union of whole atoms. The kernel then needs one lookup of a port to know which ranges hold it.
 */
export function splitAtoms(ranges: readonly PortRange[]): readonly PortRange[] {
  const atoms: PortRange[] = [];
  for (const protocol of ["tcp", "udp"] as const) {
    const own = ranges.filter((range) => range.protocol === protocol);
    const starts = new Set(own.flatMap((range) => [range.first, range.last + 1]));
    const cuts = [...starts].sort((a, b) => a - b);
    const covered = unionPorts(own);
    let current = 0;
    for (const [index, first] of cuts.entries()) {
      while ((covered[current]?.last ?? Number.POSITIVE_INFINITY) < first) current++;
      const next = cuts[index + 1];
      const isCovered = (covered[current]?.first ?? Number.POSITIVE_INFINITY) <= first;
      if (next !== undefined && isCovered) atoms.push({ protocol, first, last: next - 1 });
    }
  }
  return atoms;
}
