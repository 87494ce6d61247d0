import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AgentError, toAgentError } from "../errors.ts";
import { quoteText } from "../policy/parsed.ts";
import {
  type Choice,
  type ConfirmedPointer,
  checkAdvance,
  chooseSlot,
  decodeSlot,
  emptyPointers,
  encodeSlot,
  MAX_SLOT_BYTES,
  type PointerKind,
  type Pointers,
  pointerKinds,
  type Slot,
  type SlotBytes,
  type SlotName,
  slotFile,
  slotNames,
  type VerifiedPointer,
} from "../trust/pointers.ts";
import type { Root } from "../trust/root.ts";
import { makeFolder, readFileIfAny, replaceFile, syncFolder } from "./files.ts";

const MODE = 0o600;
const REMEDY =
  "run `clawgress recover`: it says what is lost and which approvals it takes to go on; what is enforced stays as it is";
const IDENTITY_FILE = "identity.json";

/** Whose state it is. */
export interface StateIdentity {
  readonly gateway: string;
  readonly repository: string;
}

export interface PointersReading extends Pointers {
  /** A sentence for the log for each slot that was unusable; its twin was used instead. */
  readonly notes: readonly string[];
}

/**
 * Returns both pointers, each from the newer of its two slots, without writing anything.
 * @throws AgentError STATE_CORRUPT when neither slot of one is sound: nothing is ever trusted on first use.
 */
export async function readPointers(folder: string): Promise<PointersReading> {
  const verified = await choose(folder, "verified");
  const confirmed = await choose(folder, "confirmed");
  const notes = [describeDamage(folder, "verified", verified), describeDamage(folder, "confirmed", confirmed)];
  return {
    verified: verified.slot.pointer,
    confirmed: confirmed.slot.pointer,
    notes: notes.filter((note) => note !== null),
  };
}

/** Returns the notes of both pointers after writing an unusable slot again from its sound twin. @throws AgentError STATE_CORRUPT */
export async function healPointers(folder: string): Promise<readonly string[]> {
  const notes: string[] = [];
  for (const kind of pointerKinds) {
    const choice = await choose(folder, kind);
    const note = describeDamage(folder, kind, choice);
    if (choice.damaged === null || note === null) continue;
    await writeSlot(folder, kind, choice.damaged.slot, choice.slot);
    notes.push(note);
  }
  return notes;
}

/**
 * Moves the verified pointer; durable when it returns. A newer root may have taken serials back.
 * @throws AgentError TRUST_ROLLBACK or TRUST_EQUIVOCATION when it would move backwards; STATE_CORRUPT; HOST_FILE
 */
export async function writeVerified(
  folder: string,
  next: VerifiedPointer,
  serials: Root["serials"] = null,
): Promise<void> {
  const current = await choose(folder, "verified");
  const advance = checkAdvance(current.slot.pointer, next, serials);
  if (!advance.ok) throw new AgentError(advance.code, `the verified pointer never moves backwards: ${advance.why}`);
  await writeBoth(folder, "verified", current, next);
}

/** Moves the confirmed pointer; durable when it returns. @throws AgentError STATE_CORRUPT, HOST_FILE */
export async function writeConfirmed(folder: string, next: ConfirmedPointer): Promise<void> {
  await writeBoth(folder, "confirmed", await choose(folder, "confirmed"), next);
}

/**
 * Writes the empty start into a folder, which must not exist or be empty. It appears whole or not at all.
 * @throws AgentError STATE_CORRUPT when there is something already: starting again would open the way to every old
 * serial. HOST_FILE when it cannot be written.
 */
export async function initialisePointers(folder: string, identity: StateIdentity): Promise<void> {
  const fresh = `${folder}.new`;
  try {
    await rm(fresh, { recursive: true, force: true });
    // The folders above are passed through by the gate's user on its way to the releases; only this one is private.
    await makeFolder(dirname(folder));
    await mkdir(fresh, { mode: 0o700 });
    for (const kind of pointerKinds) {
      for (const slot of slotNames) await writeSlot(fresh, kind, slot, { sequence: 1, pointer: emptyPointers[kind] });
    }
    await writeIdentity(fresh, identity);
    // Renaming onto a folder with anything in it fails, so a second start cannot win against the first.
    await rename(fresh, folder);
    await syncFolder(dirname(folder));
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ENOTEMPTY" && code !== "EEXIST" && code !== "ENOTDIR") {
      throw toAgentError(error, "HOST_FILE", `cannot initialise ${folder}`);
    }
    throw new AgentError("STATE_CORRUPT", `${folder} is in use: this gateway was initialised before (${message})`, {
      remedy: "keep it; if the agent cannot use it, `clawgress recover` says why, and how to go on",
      cause: error,
    });
  }
}

/**
 * Throws unless the state was made for this gateway: that of another one has floors of its own, and would let old serials
 * pass or refuse new ones. @throws AgentError STATE_CORRUPT
 */
export async function assertOwnState(folder: string, { gateway, repository }: StateIdentity): Promise<void> {
  const found = await readIdentity(folder);
  if (found === null) {
    const message = `${join(folder, IDENTITY_FILE)} is missing or damaged: nothing says whose state this is`;
    throw new AgentError("STATE_CORRUPT", message, { remedy: REMEDY });
  }
  if (found.gateway === gateway && found.repository === repository) return;
  const whose = `the gateway ${quoteText(found.gateway)} of the repository ${quoteText(found.repository)}`;
  const message = `${folder} is the state of ${whose}, not of ${quoteText(gateway)} of ${quoteText(repository)}`;
  throw new AgentError("STATE_CORRUPT", message, { remedy: REMEDY });
}

async function readIdentity(folder: string): Promise<StateIdentity | null> {
  try {
    const bytes = await readFileIfAny(join(folder, IDENTITY_FILE), MAX_SLOT_BYTES);
    const { gateway, repository } = JSON.parse(bytes?.toString("utf8") ?? "{}") as Partial<StateIdentity>;
    return typeof gateway === "string" && typeof repository === "string" ? { gateway, repository } : null;
  } catch {
    return null;
  }
}

async function writeIdentity(folder: string, { gateway, repository }: StateIdentity): Promise<void> {
  await replaceFile(join(folder, IDENTITY_FILE), `${JSON.stringify({ version: 1, gateway, repository })}\n`, MODE);
}

/**
 * Writes both pointers anew, whatever was there: only for what `clawgress recover` was allowed to. A confirmed pointer that
 * is sound stays, unless it is another gateway's. @throws AgentError HOST_FILE
 */
export async function replacePointers(
  folder: string,
  verified: VerifiedPointer,
  identity: StateIdentity,
): Promise<void> {
  const sequence = Math.max(await lastSequence(folder, "verified"), await lastSequence(folder, "confirmed")) + 1;
  const owner = await readIdentity(folder);
  const isForeign = owner !== null && (owner.gateway !== identity.gateway || owner.repository !== identity.repository);
  const kept = isForeign ? null : await choose(folder, "confirmed").catch(() => null);
  const pointers: Pointers = { verified, confirmed: kept?.slot.pointer ?? emptyPointers.confirmed };
  await makeFolder(folder, 0o700);
  for (const kind of pointerKinds) {
    for (const slot of slotNames) await writeSlot(folder, kind, slot, { sequence, pointer: pointers[kind] });
  }
  await writeIdentity(folder, identity);
}

async function lastSequence(folder: string, kind: PointerKind): Promise<number> {
  const slots = await Promise.all(slotNames.map((slot) => readSlot(folder, kind, slot).catch(() => null)));
  return Math.max(0, ...slots.map((bytes) => (bytes === null ? 0 : (decodeSlot(kind, bytes)?.sequence ?? 0))));
}

type Chosen<Kind extends PointerKind> = Extract<Choice<Kind>, { ok: true }>;

async function choose<Kind extends PointerKind>(folder: string, kind: Kind): Promise<Chosen<Kind>> {
  const bytes: SlotBytes = { a: await readSlot(folder, kind, "a"), b: await readSlot(folder, kind, "b") };
  const choice = chooseSlot(kind, bytes);
  if (choice.ok) return choice;
  throw new AgentError("STATE_CORRUPT", `the ${kind} pointer in ${folder} is lost: ${choice.why}`, { remedy: REMEDY });
}

async function readSlot(folder: string, kind: PointerKind, slot: SlotName): Promise<Buffer | null> {
  try {
    return await readFileIfAny(join(folder, slotFile(kind, slot)), MAX_SLOT_BYTES);
  } catch (error) {
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
    if (code === "EACCES" || code === "EPERM") throw error;
    // Far too large, a bad sector, a folder in its place: damage, for which there is the twin.
    return Buffer.alloc(0);
  }
}

/**
 * The older slot first, then the other: a crash between leaves the newer state in one of them, and after both, damage
 * to either file loses nothing. Only a second pair of hands on the folder could come between; the state lock keeps it off.
 */
async function writeBoth<Kind extends PointerKind>(
  folder: string,
  kind: Kind,
  current: Chosen<Kind>,
  pointer: Pointers[Kind],
): Promise<void> {
  const next: Slot<Kind> = { sequence: current.slot.sequence + 1, pointer };
  const older = current.newest === "a" ? "b" : "a";
  await writeSlot(folder, kind, older, next);
  await writeSlot(folder, kind, current.newest, next);
}

async function writeSlot<Kind extends PointerKind>(
  folder: string,
  kind: Kind,
  name: SlotName,
  slot: Slot<Kind>,
): Promise<void> {
  await replaceFile(join(folder, slotFile(kind, name)), encodeSlot(kind, slot), MODE);
}

function describeDamage<Kind extends PointerKind>(folder: string, kind: Kind, choice: Chosen<Kind>): string | null {
  if (choice.damaged === null) return null;
  const { slot, why } = choice.damaged;
  return `${join(folder, slotFile(kind, slot))} is ${why}; its twin holds serial ${choice.slot.pointer.serial}`;
}
