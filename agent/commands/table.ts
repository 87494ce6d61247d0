import { plainText } from "../plain-text.ts";

/** A cell: text stands left, a number right; null is a dash. */
export type Cell = string | number | null;

const MAX_CELL = 80;
const GAP = "  ";

/** Returns rows under their heads, in columns as wide as what stands in them; nothing for no rows. */
export function renderTable(heads: readonly string[], rows: readonly (readonly Cell[])[]): readonly string[] {
  if (rows.length === 0) return [];
  const texts = [heads, ...rows.map((row) => row.map(cellText))];
  const widths = heads.map((_head, column) => Math.max(...texts.map((row) => row[column]?.length ?? 0)));
  const isNumeric = heads.map((_head, column) => rows.every((row) => typeof row[column] === "number"));
  return texts.map((row) => {
    const cells = row.map((text, column) => {
      const width = widths[column] ?? 0;
      return isNumeric[column] === true ? text.padStart(width) : text.padEnd(width);
    });
    return cells.join(GAP).trimEnd();
  });
}

function cellText(cell: Cell): string {
  if (cell === null) return "–";
  return typeof cell === "number" ? String(cell) : plainText(cell, MAX_CELL);
}

/** Returns bytes as people read them: `1.5 MB`. */
export function bytesText(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return unit === 0 ? `${value} B` : `${value.toFixed(1)} ${units[unit]}`;
}
