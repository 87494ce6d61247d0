import { cidrRange, compareCidrs, compareRanges } from "./cidr.ts";
import { compareTexts } from "./compare-texts.ts";
import type { IssueLog } from "./issue-log.ts";
import { quoteText } from "./parsed.ts";
import { patternText } from "./pattern-text.ts";
import type { Cidr, NameRule, NetworkRule, PortRange, Rules } from "./policy.ts";
import { sortPorts } from "./ports.ts";

/** As many as one list may have. More would make hostile files quadratic in their repetitions. */
const MAX_PORTS = 1000;
const MAX_ANSWERS = 100;

/** The rules of one list while it is read, by canonical text; a text that stands there twice has all that its entries say. */
export type Drafts<R> = Map<string, R | Draft<R>>;

class Draft<R> {
  readonly rule: R;
  readonly ports: (readonly PortRange[])[];
  readonly answers: (readonly Cidr[])[];

  constructor(rule: R, ports: (readonly PortRange[])[], answers: (readonly Cidr[])[]) {
    this.rule = rule;
    this.ports = ports;
    this.answers = answers;
  }
}

export const NO_RULES: Rules = { names: [], networks: [] };

/** Returns the key of a rule among drafts: what expires at different times is told apart. */
export function ruleKey(text: string, { expiresS }: Pick<NameRule, "expiresS">): string {
  return expiresS === undefined ? text : `${text} ${expiresS}`;
}

/** Adds a rule. Where one is already, it takes the ports and answers, the label and notes if it has none, and is returned. */
export function addRule<R extends NameRule | NetworkRule>(drafts: Drafts<R>, key: string, rule: R): R | null {
  const known = drafts.get(key);
  if (known === undefined) {
    drafts.set(key, rule);
    return null;
  }
  const draft = known instanceof Draft ? known : new Draft(known, [known.ports], answersOf(known));
  if (draft.ports.at(-1) !== rule.ports) draft.ports.push(rule.ports);
  draft.answers.push(...answersOf(rule));
  const takesLabel = draft.rule.label === null && rule.label !== null;
  const takesNotes = draft.rule.notes === undefined && rule.notes !== undefined;
  const notes = draft.rule.notes ?? rule.notes;
  const joined =
    takesLabel || takesNotes
      ? { ...draft.rule, label: draft.rule.label ?? rule.label, ...(notes === undefined ? {} : { notes }) }
      : draft.rule;
  drafts.set(key, new Draft(joined, draft.ports, draft.answers));
  return draft.rule;
}

function answersOf(rule: NameRule | NetworkRule): (readonly Cidr[])[] {
  return "answers" in rule && rule.answers !== undefined ? [rule.answers] : [];
}

/** Returns the rules, each with the union of what its entries say; too much of it is an error. */
export function finishRules<R extends NameRule | NetworkRule>(
  drafts: Drafts<R>,
  log: IssueLog,
): readonly [string, R][] {
  return [...drafts].map(([key, draft]) => [key, finishRule(key, draft, log)]);
}

function finishRule<R extends NameRule | NetworkRule>(key: string, draft: R | Draft<R>, log: IssueLog): R {
  if (!(draft instanceof Draft)) return draft;
  const { rule, ports, answers } = draft;
  const finished = answers.length < 2 ? rule : { ...rule, answers: joinAnswers(key, rule, answers, log) };
  if (ports.length === 1) return finished;
  // Sorted once at the end: a list that repeats one name with other ports would else take quadratic time.
  const union = sortPorts(ports.flat());
  if (union.length > MAX_PORTS) {
    const message = `${quoteText(key)} has more than ${MAX_PORTS} ports and ranges in all its entries`;
    log.error(rule.place, message, "write ranges");
  }
  return { ...finished, ports: union };
}

function joinAnswers(
  key: string,
  { place }: NameRule | NetworkRule,
  answers: readonly (readonly Cidr[])[],
  log: IssueLog,
): readonly Cidr[] {
  const joined = [...new Set(answers.flat())];
  if (joined.length > MAX_ANSWERS) {
    const message = `${quoteText(key)} has more than ${MAX_ANSWERS} networks of answers in all its entries`;
    log.error(place, message, "write wider networks");
    return [];
  }
  return joined.sort(compareCidrs);
}

/** Returns rules of names in the order of their texts. */
export function finishNames(
  drafts: Drafts<NameRule>,
  log: IssueLog,
  sorted: readonly string[] = sortTexts(drafts.keys()),
): readonly NameRule[] {
  const rules: NameRule[] = [];
  for (const text of sorted) {
    const draft = drafts.get(text);
    if (draft !== undefined) rules.push(finishRule(text, draft, log));
  }
  return rules;
}

/** Returns texts in order. */
export function sortTexts(texts: Iterable<string>): string[] {
  return [...texts].sort(compareTexts);
}

/** Returns rules of networks by family, first address, then the wider first. */
export function finishNetworks(drafts: Drafts<NetworkRule>, log: IssueLog): readonly NetworkRule[] {
  const ranged = finishRules(drafts, log).map(([, rule]) => ({ rule, range: cidrRange(rule.network) }));
  return ranged.sort((a, b) => compareRanges(a.range, b.range)).map(({ rule }) => rule);
}

/** Returns several sets of rules as one; where more have an entry: the union of its ports and the label of the first. */
export function joinRules(sets: readonly Rules[], log: IssueLog): Rules {
  const names: Drafts<NameRule> = new Map();
  const networks: Drafts<NetworkRule> = new Map();
  for (const set of sets) {
    for (const rule of set.names) addRule(names, ruleKey(patternText(rule.pattern), rule), rule);
    for (const rule of set.networks) addRule(networks, ruleKey(rule.network, rule), rule);
  }
  return { names: finishNames(names, log), networks: finishNetworks(networks, log) };
}
