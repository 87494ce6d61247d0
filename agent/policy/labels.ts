import { parseCidr } from "./cidr.ts";
import { parseDomainPattern } from "./domain.ts";
import type { IssueLog } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { type Parsed, quoteText } from "./parsed.ts";
import { patternText } from "./pattern-text.ts";

/** The `labels` of a policy by the canonical text of the entry; remembers which of them an entry has taken. */
export interface LabelBook {
  /** Returns the label of a name or network in canonical text, or null. */
  take(entry: string): string | null;
  /** Warns of every label whose entry stands in no list. */
  reportUnused(): void;
}

/** Returns the book of a policy's labels; an entry that is no name or network, or is labelled twice, is an error. */
export function readLabels(labels: { readonly [entry: string]: string } | undefined, log: IssueLog): LabelBook {
  const book = new Map<string, { readonly label: string; readonly pointer: string; isUsed: boolean }>();
  for (const [entry, label] of Object.entries(labels ?? {})) {
    const pointer = joinPointer("/labels", entry);
    const parsed = parseEntry(entry);
    if (!parsed.ok) {
      log.error(log.locate(pointer, "key"), parsed.message, parsed.remedy);
      continue;
    }
    const earlier = book.get(parsed.value);
    if (earlier !== undefined) {
      const { line } = log.locate(earlier.pointer, "key");
      log.error(
        log.locate(pointer, "key"),
        `${quoteText(entry)} is the entry labelled in line ${line}`,
        "keep one label",
      );
    } else book.set(parsed.value, { label, pointer, isUsed: false });
  }
  return {
    take: (entry) => {
      const found = book.get(entry);
      if (found === undefined) return null;
      found.isUsed = true;
      return found.label;
    },
    reportUnused: () => {
      for (const [entry, { pointer, isUsed }] of book) {
        if (isUsed) continue;
        const remedy = "add the entry to a list, or remove the label";
        log.warn(log.locate(pointer, "key"), `no list contains ${quoteText(entry)}, so its label is unused`, remedy);
      }
    },
  };
}

function parseEntry(entry: string): Parsed<string> {
  const isNetwork = /^[0-9.]+(?:\/[0-9]+)?$/.test(entry) || entry.includes(":");
  if (isNetwork) return parseCidr(entry);
  const parsed = parseDomainPattern(entry);
  return parsed.ok ? { ok: true, value: patternText(parsed.value) } : parsed;
}
