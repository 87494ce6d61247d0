import { compareTexts } from "../policy/compare-texts.ts";

type Plain = string | number | boolean | null | readonly Plain[] | { readonly [key: string]: Plain };

/**
 * Returns JSON text whose bytes depend on the value alone: keys sorted by code units, no white space, a line feed at
 * the end. Takes half the time of JSON.stringify with a function that sorts, which counts at 100,000 rules.
 */
export function canonicalJson(value: unknown): string {
  const parts: string[] = [];
  write(value as Plain, parts, new Map());
  parts.push("\n");
  return parts.join("");
}

/** Objects of one shape are many; their keys are sorted and quoted once. */
type Shapes = Map<string, readonly (readonly [key: string, text: string])[]>;

function write(value: Plain, parts: string[], shapes: Shapes): void {
  if (typeof value !== "object" || value === null) parts.push(JSON.stringify(value));
  else if (isArray(value)) {
    parts.push("[");
    for (const [index, item] of value.entries()) {
      if (index > 0) parts.push(",");
      write(item, parts, shapes);
    }
    parts.push("]");
  } else {
    parts.push("{");
    for (const [key, text] of shapeOf(value, shapes)) {
      parts.push(text);
      write(value[key] ?? null, parts, shapes);
    }
    parts.push("}");
  }
}

function isArray(value: Plain): value is readonly Plain[] {
  return Array.isArray(value);
}

function shapeOf(value: object, shapes: Shapes): readonly (readonly [string, string])[] {
  const keys = Object.keys(value);
  const id = JSON.stringify(keys);
  const known = shapes.get(id);
  if (known !== undefined) return known;
  const shape = keys
    .sort(compareTexts)
    .map((key, index) => [key, `${index > 0 ? "," : ""}${JSON.stringify(key)}:`] as const);
  shapes.set(id, shape);
  return shape;
}
