import { mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Random } from "../faults/random.ts";
import type { FileStep } from "./recorded-files.ts";

/**
 * What a disk may hold after the power went, by what POSIX promises and no more: bytes are there once their file was synced, names
 * once their folder was. Of what was not, anything may be there and anything may not, in any order; bytes may be there in part.
 */

/** Path → inode of a file, or null for a folder. */
type Names = Map<string, number | null>;

export interface Disk {
  readonly names: ReadonlyMap<string, number | null>;
  readonly bytes: ReadonlyMap<number, Buffer>;
}

/** Returns what is in a folder, as a disk that has all of it. */
export function readDisk(folder: string): Disk {
  const names: Names = new Map([[folder, null]]);
  const bytes = new Map<number, Buffer>();
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const path = join(folder, name);
    const info = statSync(path);
    names.set(path, info.isDirectory() ? null : info.ino);
    if (info.isFile()) bytes.set(info.ino, readFileSync(path));
  }
  return { names, bytes };
}

/** How many of the things that are open are tried in every combination; of more, a sample. */
const MAX_OPEN = 6;
const SAMPLES = 48;

/** Returns what the disk may hold after the first so many steps, each once. */
export function listLosses(start: Disk, steps: readonly FileStep[], count: number, random: Random): readonly Disk[] {
  const done = steps.slice(0, count);
  const open = [...done.keys()].filter((index) => isOpen(done, index));
  const combinations = open.length <= MAX_OPEN ? 2 ** open.length : SAMPLES;
  const disks = new Map<string, Disk>();
  for (let number = 0; number < combinations; number += 1) {
    const isLost = (index: number): boolean => {
      const bit = open.indexOf(index);
      if (bit < 0 || number === 0) return false;
      if (open.length > MAX_OPEN) return number === 1 || random.next() < 0.5;
      return ((number >> bit) & 1) === 1;
    };
    for (const part of [0, 0.5] as const) {
      const disk = replay(start, done, isLost, part);
      disks.set(describeDisk(disk), disk);
    }
  }
  return [...disks.values()];
}

/** Whether nothing has made a step durable since. */
function isOpen(done: readonly FileStep[], index: number): boolean {
  const step = done[index];
  const later = done.slice(index + 1);
  if (step === undefined || step.kind === "sync" || step.kind === "sync-folder") return false;
  if (step.kind === "write") return !later.some((next) => next.kind === "sync" && next.inode === step.inode);
  return !later.some((next) => next.kind === "sync-folder" && next.path === dirname(step.path));
}

/** Whoever wrote through a name that was lost wrote into the same file all the same: names lead to inodes as they did. */
function replay(start: Disk, done: readonly FileStep[], isLost: (index: number) => boolean, part: number): Disk {
  const present: Names = new Map(start.names);
  const names: Names = new Map(start.names);
  const bytes = new Map(start.bytes);
  for (const [index, step] of done.entries()) {
    if (step.kind === "sync" || step.kind === "sync-folder") continue;
    if (step.kind === "write") {
      const kept = isLost(index) ? Math.floor(step.bytes.length * part) : step.bytes.length;
      bytes.set(step.inode, step.bytes.subarray(0, kept));
      continue;
    }
    if (step.kind === "create" && !bytes.has(step.inode)) bytes.set(step.inode, Buffer.alloc(0));
    change(names, step, present, isLost(index));
    change(present, step, present, false);
  }
  return { names, bytes };
}

function change(
  names: Names,
  step: Exclude<FileStep, { kind: "write" | "sync" | "sync-folder" }>,
  present: Names,
  isLost: boolean,
): void {
  if (isLost) return;
  if (step.kind === "create") names.set(step.path, step.inode);
  else if (step.kind === "mkdir") names.set(step.path, null);
  else if (step.kind === "remove") names.delete(step.path);
  else {
    for (const [path, inode] of [...present]) {
      if (path !== step.from && !path.startsWith(`${step.from}/`)) continue;
      names.set(step.path + path.slice(step.from.length), inode);
      if (step.kind === "rename") names.delete(path);
    }
  }
}

/** Writes a disk below another folder; what lies in a folder that was lost is lost with it. Returns the folder. */
export function writeDisk({ names, bytes }: Disk, folder: string): string {
  const copy = mkdtempSync(join(tmpdir(), "clawgress-disk-"));
  const sorted = [...names].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [path, inode] of sorted) {
    if (path === folder || !hasFolders(names, path, folder)) continue;
    const target = copy + path.slice(folder.length);
    if (inode === null) mkdirSync(target);
    else writeFileSync(target, bytes.get(inode) ?? "");
  }
  return copy;
}

function hasFolders(names: Disk["names"], path: string, root: string): boolean {
  for (let folder = dirname(path); folder.length >= root.length; folder = dirname(folder)) {
    if (names.get(folder) !== null) return false;
  }
  return true;
}

function describeDisk({ names, bytes }: Disk): string {
  const lines = [...names].map(([path, inode]) => `${path} ${inode === null ? "" : bytes.get(inode)?.toString("hex")}`);
  return lines.sort().join("\n");
}
