import type { AllowDocument } from "./document.ts";
import { NO_RULES } from "./drafts.ts";
import { type IssueLog, whereIs } from "./issue-log.ts";
import { joinPointer } from "./json-pointer.ts";
import type { LabelBook } from "./labels.ts";
import { quoteText } from "./parsed.ts";
import type { Place, Rules } from "./policy.ts";
import type { PolicyMemory } from "./policy-memory.ts";
import { readRules } from "./rules.ts";
import { suggestWord } from "./schema-issues.ts";
import type { PolicySource } from "./source-document.ts";

/** The `groups` of a policy: lists with a name, read once, that any `allow` adds to its own. */
export interface NamedLists {
  /** Returns the rules of every list that an `allow` names, in its order; an unknown name is an error. */
  take(allow: AllowDocument, pointer: string, log: IssueLog): readonly Rules[];
  /** Warns of every list that no `allow` names. */
  reportUnused(): void;
}

/**
 * Returns the lists of all files of a policy. A list holds entries only and can name no other list, so that lists
 * cannot go round in a circle.
 */
export function readNamedLists(sources: readonly PolicySource[], labels: LabelBook, memory?: PolicyMemory): NamedLists {
  const lists = new Map<string, { readonly rules: Rules; readonly place: Place; readonly log: IssueLog }>();
  const used = new Set<string>();
  for (const { document, log } of sources) {
    for (const [name, list] of Object.entries(document.groups ?? {})) {
      const pointer = joinPointer("/groups", name);
      const place = log.locate(pointer, "key");
      const earlier = lists.get(name);
      if (earlier === undefined)
        lists.set(name, { rules: readRules(list, pointer, { log, labels, memory }), place, log });
      else {
        const message = `the group ${quoteText(name)} is already in ${whereIs(earlier.place, place)}`;
        log.error(place, message, "give one of them another name");
      }
    }
  }
  return {
    take: (allow, pointer, log) =>
      (allow.groups ?? []).map((name, index) => {
        used.add(name);
        const found = lists.get(name);
        if (found !== undefined) return found.rules;
        const place = log.locate(joinPointer(joinPointer(pointer, "groups"), index));
        log.error(place, `there is no group ${quoteText(name)}`, suggestWord(name, [...lists.keys()]));
        return NO_RULES;
      }),
    reportUnused: () => {
      for (const [name, { place, log }] of lists) {
        if (used.has(name)) continue;
        log.warn(
          place,
          `no allow names the group ${quoteText(name)}`,
          `write "groups": [${quoteText(name)}], or remove it`,
        );
      }
    },
  };
}
