import { rm } from "node:fs/promises";
import { basename } from "node:path";
import { run, runChecked } from "../host/run.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import { makeScratch } from "./clear-scratch.ts";
import { canonical, type Entry, listEach, loadRuleset, type NamespacePrefix } from "./kernel.ts";

const COMMAND_TIMEOUT_MS = 15_000;
const BASE_TABLE = "clawgress_base";
/** What agent.json fills, in both tables; all other sets of the base table are the kernel's own to fill. */
const filledSets = [
  ...["clients", "upstream", "lifeline4", "lifeline6", "resolvers4", "resolvers6"].map((name) => [BASE_TABLE, name]),
  ...["lan", "lifeline4", "lifeline6"].map((name) => ["clawgress", name]),
] as const;

/** Chain or set → what it says. What the kernel counts and remembers by itself is not part of it. */
export type BaseListing = ReadonlyMap<string, string>;

/** Returns what the base table says, as the kernel has it. @throws AgentError HOST_COMMAND when it does not stand */
export async function listBase(prefix: NamespacePrefix = []): Promise<BaseListing> {
  const [skeleton = [], ...sets] = await listEach(prefix, [
    ["-t", "list", "table", "inet", BASE_TABLE],
    ...filledSets.map(([table = "", name = ""]) => ["list", "set", "inet", table, name]),
  ]);
  const chains = skeleton.filter((entry) => entry["chain"] !== undefined);
  const rules = skeleton.filter((entry) => entry["rule"] !== undefined);
  return new Map([
    ...chains.map((chain): [string, string] => {
      const name = nameIn(chain, "chain", "name");
      const own = rules.filter((rule) => nameIn(rule, "rule", "chain") === name);
      return [`chain ${name}`, [chain, ...own].map(canonical).join("\n")];
    }),
    ...sets.map((entries, index): [string, string] => [
      `set ${filledSets[index]?.join(" ")}`,
      entries.map(canonical).sort(compareTexts).join("\n"),
    ]),
  ]);
}

/** Returns what the base table will say once a text is loaded, by loading it in a network namespace of its own. @throws AgentError HOST_COMMAND, APPLY_FAILED */
export async function rehearseBase(text: string): Promise<BaseListing> {
  const scratch = await makeScratch();
  const name = basename(scratch);
  const prefix = ["nsenter", `--net=/run/netns/${name}`];
  try {
    await runChecked(["ip", "netns", "add", name], { timeoutMs: COMMAND_TIMEOUT_MS });
    await loadRuleset(text, prefix);
    return await listBase(prefix);
  } finally {
    await run(["ip", "netns", "del", name], { timeoutMs: COMMAND_TIMEOUT_MS });
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Returns the first chain or set of `wanted` that is another one in `found`, or null. What `found` has beside them is not asked. */
export function findBaseDifference(wanted: BaseListing, found: BaseListing): string | null {
  for (const [name, text] of wanted) if (found.get(name) !== text) return name;
  return null;
}

function nameIn(entry: Entry, kind: string, key: string): string {
  const value = (entry[kind] as { readonly [key: string]: unknown } | undefined)?.[key];
  return typeof value === "string" ? value : "";
}
