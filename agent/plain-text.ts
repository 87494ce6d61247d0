// Control, format (bidirectional marks, zero-width), surrogate, private-use and line or paragraph separator characters.
const NOT_PLAIN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]+/gu;

/**
 * Returns text from elsewhere as one printable line: control and format characters and white space become single
 * spaces, and the end is cut to at most `maxCodePoints` code points (the last of them `…` when something was cut).
 */
export function plainText(text: string, maxCodePoints: number): string {
  // Bounded before the expressions run: one code point is at most two UTF-16 units, and white space shrinks.
  const line = text
    .slice(0, 16 * maxCodePoints)
    .replace(NOT_PLAIN, " ")
    .replace(/\s+/gu, " ")
    .trim();
  const points = [...line];
  return points.length <= maxCodePoints ? line : `${points.slice(0, maxCodePoints - 1).join("")}…`;
}

/** Returns an address fit for logs and errors: scheme, host and path, without user, password, query and fragment. */
export function redactUrl(url: string | URL, base?: URL): string {
  try {
    const parsed = new URL(url, base);
    return plainText(`${parsed.protocol}//${parsed.host}${parsed.pathname}`, 200);
  } catch {
    return "(not a URL)";
  }
}
