import { joinPointer } from "./json-pointer.ts";
import type { JsonDocument, TextIssue } from "./json-text.ts";
import { quoteText } from "./parsed.ts";

/** What a generated validator says about one violation; `parentSchema` is the schema object that refused. */
export interface SchemaError {
  readonly instancePath: string;
  readonly keyword: string;
  readonly params: { readonly [name: string]: unknown };
  readonly parentSchema?: { readonly [keyword: string]: unknown };
  readonly data?: unknown;
  /** Set when a key was judged, not a value. */
  readonly propertyName?: string;
}

const MAX_ISSUES = 100;
const MAX_LISTED_WORDS = 12;

/**
 * Returns the violations of a schema in plain words, in the order of the text, at most 100: unknown keys at the key
 * with the known key that was probably meant, everything else at the value with the description that the schema gives.
 */
export function explainSchemaErrors(
  errors: readonly SchemaError[] | null | undefined,
  locate: JsonDocument["locate"],
): readonly TextIssue[] {
  const issues: TextIssue[] = [];
  for (const error of errors ?? []) {
    if (issues.length === MAX_ISSUES) break;
    // The reason why a key is wrong is told once, by the error about the key itself.
    if (error.propertyName !== undefined) continue;
    issues.push(explainError(error, locate));
  }
  return issues.toSorted((a, b) => a.place.line - b.place.line || a.place.column - b.place.column);
}

function explainError(error: SchemaError, locate: JsonDocument["locate"]): TextIssue {
  const { instancePath, keyword, params, parentSchema } = error;
  const key = params["additionalProperty"] ?? params["propertyName"];
  if (typeof key === "string") {
    const place = locate(joinPointer(instancePath, key), "key");
    if (keyword === "propertyNames") {
      const names = parentSchema?.["propertyNames"] as SchemaError["parentSchema"];
      return { place, message: `${quoteText(key)} cannot stand here`, remedy: `expected: ${describe(names)}` };
    }
    const known = Object.keys((parentSchema?.["properties"] ?? {}) as object);
    return { place, message: `the key ${quoteText(key)} is not known here`, remedy: suggestWord(key, known) };
  }
  const place = locate(instancePath);
  if (keyword === "required") return explainMissing(String(params["missingProperty"]), parentSchema, place);
  if (keyword === "enum" || keyword === "const") {
    const allowed = keyword === "enum" ? (params["allowedValues"] as readonly unknown[]) : [params["allowedValue"]];
    const message = `${showValue(error.data)} is not allowed here`;
    const remedy =
      typeof error.data === "string" && allowed.every((value) => typeof value === "string")
        ? suggestWord(error.data, allowed as readonly string[])
        : `expected: ${describe(parentSchema)}`;
    return { place, message, remedy };
  }
  return { place, message: explainValue(error), remedy: `expected: ${describe(parentSchema)}` };
}

function explainMissing(key: string, schema: SchemaError["parentSchema"], place: TextIssue["place"]): TextIssue {
  const properties = (schema?.["properties"] ?? {}) as { readonly [name: string]: SchemaError["parentSchema"] };
  return {
    place,
    message: `the key ${quoteText(key)} is missing`,
    remedy: `add it: ${describe(properties[key], key)}`,
  };
}

const nouns: { readonly [type: string]: string } = {
  array: "a list",
  boolean: "true or false",
  integer: "a whole number",
  null: "null",
  number: "a number",
  object: "an object",
  string: "a text",
};

function explainValue({ keyword, params, data }: SchemaError): string {
  const limit = String(params["limit"]);
  switch (keyword) {
    case "type": {
      const types = [params["type"]].flat().map((type) => nouns[String(type)] ?? String(type));
      return `${showValue(data)} is not ${types.join(" or ")}`;
    }
    case "minItems":
    case "minProperties":
      return limit === "1" ? "there is no entry" : `there are fewer than ${limit} entries`;
    case "maxItems":
    case "maxProperties":
      return `there are more than ${limit} entries`;
    case "uniqueItems":
      return `the entries ${Number(params["j"]) + 1} and ${Number(params["i"]) + 1} are the same`;
    case "minLength":
      return limit === "1" ? "the text is empty" : `the text is shorter than ${limit} characters`;
    case "maxLength":
      return `the text is longer than ${limit} characters`;
    case "minimum":
      return `${showValue(data)} is less than ${limit}`;
    case "maximum":
      return `${showValue(data)} is more than ${limit}`;
    default:
      return `${showValue(data)} is not valid here`;
  }
}

function showValue(data: unknown): string {
  if (Array.isArray(data)) return "a list";
  if (data !== null && typeof data === "object") return "an object";
  return typeof data === "string" ? quoteText(data) : String(data);
}

function describe(schema: SchemaError["parentSchema"], fallback = "what the schema of this file says"): string {
  const description = schema?.["description"];
  return typeof description === "string" ? description : fallback;
}

/** Returns advice after a word that is not among the known ones: the nearest, else all of them. */
export function suggestWord(word: string, known: readonly string[]): string {
  const nearest = known
    .map((candidate) => ({
      candidate,
      distance: editDistance(word.slice(0, 64).toLowerCase(), candidate.toLowerCase()),
    }))
    .sort((a, b) => a.distance - b.distance)[0];
  if (nearest !== undefined && nearest.distance <= Math.max(1, Math.floor(nearest.candidate.length / 3))) {
    return `did you mean "${nearest.candidate}"?`;
  }
  if (known.length === 0) return "remove it";
  const listed = known.slice(0, MAX_LISTED_WORDS).map((candidate) => `"${candidate}"`);
  return `known here: ${listed.join(", ")}${known.length > MAX_LISTED_WORDS ? ", ..." : ""}`;
}

/** Insertions, deletions, replacements and swaps of neighbours between two short words. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const isSame = a[row - 1] === b[column - 1];
      const steps = [
        (previous[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (previous[column - 1] ?? 0) + (isSame ? 0 : 1),
      ];
      const isSwap = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (isSwap) steps.push((before[column - 2] ?? 0) + 1);
      current.push(Math.min(...steps));
    }
    before = previous;
    previous = current;
  }
  return previous[b.length] ?? 0;
}
