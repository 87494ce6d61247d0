import { createHash } from "node:crypto";
import type { LivePair } from "../compile/live-delta.ts";
import { refilledMaps, refilledSets, staticMaps, staticSets } from "../compile/nft-objects.ts";
import { AgentError, type Json } from "../errors.ts";
import { type Nftables, openNftables } from "../host/nftables.ts";
import { run, runChecked } from "../host/run.ts";
import { compareTexts } from "../policy/compare-texts.ts";

/** Loading 100,000 networks takes seconds on two cores; a kernel that takes longer is stuck. */
const LOAD_TIMEOUT_MS = 60_000;
const COMMAND_TIMEOUT_MS = 15_000;
const MAX_LISTING_BYTES = 512 * 1024 * 1024;
/** What nft says of a table or set that it does not find: the text of ENOENT, whatever the language of the system. */
const NOT_THERE = "No such file or directory";

export const POLICY_TABLE = "clawgress";
export const BASE_TABLE = "clawgress_base";
/** A prefix for `nft` that makes it work in another network namespace; empty for this one. */
export type NamespacePrefix = readonly string[];

function nft(prefix: NamespacePrefix, ...args: readonly string[]): readonly [string, ...string[]] {
  const [first, ...rest] = [...prefix, "nft", ...args];
  return [first ?? "nft", ...rest];
}

let library: Promise<Nftables | null> | null = null;

/** Returns nftables in this process, which has not to fork for it (10 ms in a large one); null where there is none. */
async function openLibrary(): Promise<Nftables | null> {
  library ??= openNftables().catch((error: unknown) => {
    if (error instanceof AgentError && error.code === "HOST_MISSING") return null;
    throw error;
  });
  return await library;
}

/** What is longer is loaded by a program: it needs memory, which goes with it, and time, which is bounded. */
const MAX_SHORT_LENGTH = 64 * 1024;

/** Loads one file of nft commands as one transaction. @throws AgentError APPLY_FAILED with what nft says. */
export async function loadRuleset(text: string | Buffer, prefix: NamespacePrefix = []): Promise<void> {
  const nftables = prefix.length === 0 && text.length <= MAX_SHORT_LENGTH ? await openLibrary() : null;
  const refusal = nftables === null ? await loadByProgram(text, prefix) : await loadByLibrary(nftables, text);
  if (refusal === null) return;
  throw new AgentError("APPLY_FAILED", `nft refuses the ruleset: ${firstLine(refusal)}`, {
    details: { stderr: refusal.slice(0, 4096) },
  });
}

async function loadByProgram(text: string | Buffer, prefix: NamespacePrefix): Promise<string | null> {
  const result = await run(nft(prefix, "-f", "-"), { stdin: text, timeoutMs: LOAD_TIMEOUT_MS });
  return result.exitCode === 0 ? null : result.stderr;
}

async function loadByLibrary(nftables: Nftables, text: string | Buffer): Promise<string | null> {
  try {
    await nftables.change(text.toString());
    return null;
  } catch (error) {
    if (error instanceof AgentError) return String(error.details["said"] ?? error.message);
    throw error;
  }
}

/** Returns whether a table of the inet family stands. */
export async function hasTable(name: string): Promise<boolean> {
  try {
    return (await listTableEntries()).some((table) => table.name === name);
  } catch (error) {
    if (error instanceof AgentError) return false;
    throw error;
  }
}

/** Our tables as the kernel numbers them: a table that was deleted and made anew has another handle. Null: it is not there. */
export interface TableHandles {
  readonly base: number | null;
  readonly policy: number | null;
}

async function listTableEntries(): Promise<readonly TableEntry[]> {
  const entries = await listJson([], ["list", "tables", "inet"]);
  return entries.flatMap(({ table }) => (table === undefined ? [] : [table as unknown as TableEntry]));
}

/** Returns the handles of both tables, without a look at any rule. @throws AgentError HOST_COMMAND */
export async function readTableHandles(): Promise<TableHandles> {
  const tables = await listTableEntries();
  const handleOf = (name: string): number | null => tables.find((table) => table.name === name)?.handle ?? null;
  return { base: handleOf(BASE_TABLE), policy: handleOf(POLICY_TABLE) };
}

interface TableEntry {
  readonly name: string;
  readonly handle: number;
}

/**
 * Returns a digest of all that is static in the policy table: chains, rules, and the elements of every map and set that
 * only an apply writes. What the kernel counts is not part of it. Equal digests mean equal rulesets.
 * @throws AgentError HOST_COMMAND when the table does not stand.
 */
export async function digestPolicyTable(prefix: NamespacePrefix = []): Promise<string> {
  const [listed = [], ...lists] = await listEach(prefix, [
    ["-t", "list", "table", "inet", POLICY_TABLE],
    ...[...staticMaps].map((name) => ["list", "map", "inet", POLICY_TABLE, name]),
    ...[...staticSets, ...refilledSets].map((name) => ["list", "set", "inet", POLICY_TABLE, name]),
    ...[...refilledMaps].map((name) => ["list", "map", "inet", POLICY_TABLE, name]),
  ]);
  // Counters of byte caps come and go with what the gate makes of a release.
  const skeleton = listed.filter((entry) => entry["quota"] === undefined);
  const kept = staticMaps.length + staticSets.length;
  // What a set that no rule asks holds changes nothing.
  const texts = skeleton.map(canonical);
  const isAsked = (name: string): boolean => texts.some((text) => text.includes(`"@${name}"`));
  const refilled = [...refilledSets, ...refilledMaps];
  const maps = lists.filter((_list, index) => index < kept || isAsked(refilled[index - kept] ?? ""));
  // Objects are listed in the order of their creation, which an older version's table has another of; rules by chain.
  const objects = [...skeleton.filter((entry) => entry["rule"] === undefined), ...maps.flat()].map(canonical).sort();
  const rules = skeleton.filter((entry) => entry["rule"] !== undefined);
  const parts = [...objects, ...rules.sort((a, b) => compareTexts(chainOf(a), chainOf(b))).map(canonical)];
  return createHash("sha256").update(parts.join("\n")).digest("hex");
}

/** An object of a listing, under the name of its kind. */
export type Entry = { readonly [kind: string]: Json };

/** Returns what a `list` command of nft finds. @throws AgentError HOST_COMMAND when it is not there */
export async function listJson(prefix: NamespacePrefix, args: readonly string[]): Promise<readonly Entry[]> {
  const nftables = prefix.length === 0 ? await openLibrary() : null;
  if (nftables !== null) {
    const isTerse = args[0] === "-t";
    const what = args.slice(isTerse ? 2 : 1);
    const found = isTerse ? await nftables.listTerse(...what) : await nftables.list(...what);
    return (found as readonly Entry[]).filter(isNoHeader);
  }
  const text = await runChecked(nft(prefix, "-j", ...args), {
    timeoutMs: LOAD_TIMEOUT_MS,
    maxOutputBytes: MAX_LISTING_BYTES,
  });
  return parseListing(text);
}

function parseListing(text: string): readonly Entry[] {
  const { nftables } = JSON.parse(text) as { nftables: readonly Entry[] };
  return nftables.filter(isNoHeader);
}

function isNoHeader(entry: Entry): boolean {
  return entry["metainfo"] === undefined;
}

/** So many are 64 KiB. */
const MAX_SHORT_ELEMENTS = 500;

/** Whether all that was listed last was short, so that listing it again needs no memory to speak of. */
let isShort = false;

/**
 * Returns what each of several `list` commands prints, the first without elements; an object that is not there lists
 * nothing. What was short is listed in this process. Else all are told to one program, one after the other, since each
 * costs a process otherwise; in one command nft 1.0.6 finds only one of several maps.
 */
export async function listEach(
  prefix: NamespacePrefix,
  commands: readonly (readonly string[])[],
): Promise<readonly (readonly Entry[])[]> {
  const [terse = [], ...others] = commands;
  if (isShort && prefix.length === 0 && (await openLibrary()) !== null)
    return await listOneByOne(prefix, terse, others);
  const [first, text] = await Promise.all([
    listJson(prefix, terse),
    run(nft(prefix, "-j", "-i"), {
      stdin: others.map((command) => `${command.join(" ")}\n`).join(""),
      timeoutMs: LOAD_TIMEOUT_MS,
      maxOutputBytes: MAX_LISTING_BYTES,
    }),
  ]);
  if (prefix.length === 0) isShort = text.stdout.length < MAX_SHORT_LENGTH;
  const lines = text.stdout.split("\n").filter((line) => line.startsWith('{"nftables"'));
  if (lines.length === others.length && text.stderr === "") return [first, ...lines.map(parseListing)];
  // An nft that talks in another way, or a table of an older version, which lacks some.
  return await listOneByOne(prefix, terse, others);
}

function countElements(entry: Entry): number {
  const { elem } = (entry["map"] ?? entry["set"] ?? {}) as { readonly elem?: Json };
  return Array.isArray(elem) ? elem.length : 0;
}

async function listOneByOne(
  prefix: NamespacePrefix,
  terse: readonly string[],
  others: readonly (readonly string[])[],
): Promise<readonly (readonly Entry[])[]> {
  const first = await listJson(prefix, terse);
  const lists = await Promise.all(others.map((command) => listIfAny(prefix, command)));
  if (prefix.length === 0)
    isShort &&= lists.flat().reduce((sum, entry) => sum + countElements(entry), 0) < MAX_SHORT_ELEMENTS;
  return [first, ...lists];
}

/** Returns what a `list` command finds; nothing when it is not there. @throws AgentError HOST_COMMAND */
async function listIfAny(prefix: NamespacePrefix, command: readonly string[]): Promise<readonly Entry[]> {
  return await listJson(prefix, command).catch((error: unknown) => {
    if (error instanceof AgentError && error.message.includes(NOT_THERE)) return [];
    throw error;
  });
}

function chainOf(entry: Entry): string {
  const chain = (entry["rule"] as { readonly chain?: Json } | undefined)?.chain;
  return typeof chain === "string" ? chain : "";
}

function isObject(value: Json): value is { readonly [key: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Handles and counters count up, and the kernel lists elements in any order: none of it is part of the meaning. */
export function canonical(entry: Entry): string {
  return JSON.stringify(entry, (key, value: Json) => {
    if (key === "handle") return undefined;
    if (key === "counter" && isObject(value)) return { ...value, packets: 0, bytes: 0 };
    if (key === "elem" && Array.isArray(value)) return value.map((element) => JSON.stringify(element)).sort();
    return value;
  });
}

/**
 * Returns the digest that the kernel will read back once a policy file is loaded, by loading it for real in a network
 * namespace of its own. It finds what `nft -c` finds, and what only the kernel refuses.
 * @throws AgentError APPLY_CHECK_FAILED
 */
export async function rehearseRuleset(text: string | Buffer, scratchName: string): Promise<string> {
  const prefix = ["nsenter", `--net=/run/netns/${scratchName}`];
  await runChecked(["ip", "netns", "add", scratchName], { timeoutMs: COMMAND_TIMEOUT_MS });
  try {
    await loadRuleset(text, prefix);
    return await digestPolicyTable(prefix);
  } catch (error) {
    throw new AgentError("APPLY_CHECK_FAILED", `the ruleset does not load: ${(error as Error).message}`, {
      cause: error,
    });
  } finally {
    await run(["ip", "netns", "del", scratchName], { timeoutMs: COMMAND_TIMEOUT_MS });
  }
}

/**
 * Returns both tables as nft prints them, as text or as JSON; without elements unless asked.
 * @throws AgentError HOST_COMMAND when one does not stand
 */
export async function listTables(
  hasElements: boolean,
  isJson: boolean,
): Promise<{ readonly texts: readonly string[]; readonly documents: readonly Json[] }> {
  const terse = hasElements ? [] : ["-t"];
  const texts: string[] = [];
  const documents: Json[] = [];
  for (const table of [BASE_TABLE, POLICY_TABLE]) {
    const args = [...terse, "list", "table", "inet", table];
    const limits = { timeoutMs: LOAD_TIMEOUT_MS, maxOutputBytes: MAX_LISTING_BYTES };
    if (isJson) documents.push((await listJson([], args)) as Json);
    else texts.push(await runChecked(nft([], ...args), limits));
  }
  return { texts, documents };
}

/** Returns the pairs in the kernel's set `live`; none before the first release. @throws AgentError HOST_COMMAND */
export async function readLivePairs(): Promise<readonly LivePair[]> {
  return (await readSet("live")).flatMap((value) => {
    const pair = livePairOf(value);
    return pair === null ? [] : [pair];
  });
}

/** Returns the marks in the kernel's set `budgets`; none before the first release. @throws AgentError HOST_COMMAND */
export async function readBudgets(): Promise<readonly number[]> {
  return (await readSet("budgets")).filter((value) => typeof value === "number");
}

/** Returns the elements of a set of the policy table without what the kernel keeps with them; none if it does not stand. */
async function readSet(name: string): Promise<readonly Json[]> {
  const [entry] = await listIfAny([], ["list", "set", "inet", POLICY_TABLE, name]);
  const elements = (entry?.["set"] as { readonly elem?: readonly Json[] } | undefined)?.elem ?? [];
  return elements.map((element) => (element as { readonly elem?: { readonly val?: Json } }).elem?.val ?? element);
}

function livePairOf(value: Json): LivePair | null {
  const concat = (value as { readonly concat?: readonly Json[] }).concat;
  const [group, grant] = concat ?? [];
  return typeof group === "number" && typeof grant === "number" ? { group, grant } : null;
}

function firstLine(text: string): string {
  return text.trim().split("\n", 1)[0] ?? "";
}
