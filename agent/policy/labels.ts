import { parseCidr } from "./cidr.ts";
import { parseDomainPattern } from "./domain.ts";
import { type IssueLog, whereIs } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import { type Parsed, quoteText } from "./parsed.ts";
import { patternText } from "./pattern-text.ts";
import type { Place } from "./policy.ts";
import type { PolicySource } from "./source-document.ts";

/** The `labels` of a policy by the canonical text of the entry; remembers which of them an entry has taken. */
export interface LabelBook {
  /** Returns the label of a name or network in canonical text, or null. */
  take(entry: string): string | null;
  /** Warns of every label whose entry stands in no list. */
  reportUnused(): void;
  /** There is no label at all. */
  readonly isEmpty: boolean;
}

/** Returns the book of the labels of all files; an entry that is no name or network, or is labelled twice, is an error. */
export function readLabels(sources: readonly PolicySource[]): LabelBook {
  const book = new Map<string, Label>();
  for (const { document, log } of sources) {
    for (const [entry, label] of Object.entries(document.labels ?? {})) {
      const place = log.locate(joinPointer("/labels", entry), "key");
      const parsed = parseEntry(entry);
      if (!parsed.ok) {
        log.error(place, parsed.message, parsed.remedy);
        continue;
      }
      const earlier = book.get(parsed.value);
      if (earlier === undefined) book.set(parsed.value, { label, place, log, isUsed: false });
      else {
        const message = `${quoteText(entry)} is the entry labelled in ${whereIs(earlier.place, place)}`;
        log.error(place, message, "keep one label");
      }
    }
  }
  return {
    isEmpty: book.size === 0,
    take: (entry) => {
      const found = book.get(entry);
      if (found === undefined) return null;
      found.isUsed = true;
      return found.label;
    },
    reportUnused: () => {
      for (const [entry, { place, log, isUsed }] of book) {
        if (isUsed) continue;
        const remedy = "add the entry to a list, or remove the label";
        log.warn(place, `no list contains ${quoteText(entry)}, so its label is unused`, remedy);
      }
    },
  };
}

interface Label {
  readonly label: string;
  readonly place: Place;
  readonly log: IssueLog;
  isUsed: boolean;
}

function parseEntry(entry: string): Parsed<string> {
  const isNetwork = /^[0-9.]+(?:\/[0-9]+)?$/.test(entry) || entry.includes(":");
  if (isNetwork) return parseCidr(entry);
  const parsed = parseDomainPattern(entry);
  return parsed.ok ? { ok: true, value: patternText(parsed.value) } : parsed;
}
