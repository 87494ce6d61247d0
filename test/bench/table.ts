import type { Row } from "./row.ts";

const HEAD = ["", "ours", "the alternative", "ratio", "goal"] as const;

/** Returns ours divided by the alternative, or null without one. */
export function ratioOf({ ours, other }: Row): number | null {
  return other === null || other.value === 0 ? null : ours / other.value;
}

/** Returns rows as a Markdown table that reads as text too, followed by how each row was measured. */
export function renderTable(rows: readonly Row[]): string {
  const lines = rows.map((row) => {
    const ratio = ratioOf(row);
    const other = row.other === null ? "–" : `${figure(row.other.value, row.unit)} (${row.other.what})`;
    return [row.what, figure(row.ours, row.unit), other, ratio === null ? "–" : digits(ratio), row.goal ?? "–"];
  });
  const notes = [...new Set(rows.map(({ how }) => how))].map((how) => {
    const about = rows.filter((row) => row.how === how).map(({ what }) => what);
    const [first, last] = [about[0], about.at(-1)];
    return `- ${first === last ? first : `${first} … ${last}`}: ${how}.`;
  });
  return [layOut(HEAD, lines), "", ...notes].join("\n");
}

/** Returns lines of cells below a head as a Markdown table that reads as text too. */
export function layOut(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(3, title.length, ...lines.map((line) => (line[column] ?? "").length)),
  );
  const render = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  return [render(head), render(widths.map((width) => "-".repeat(width))), ...lines.map(render)].join("\n");
}

function figure(value: number, unit: Row["unit"]): string {
  return unit === "lost" ? String(value) : `${digits(value)} ${unit}`;
}

/** Two or three significant digits: more would be noise. */
function digits(value: number): string {
  if (value >= 100 || Number.isInteger(value)) return String(Math.round(value));
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
