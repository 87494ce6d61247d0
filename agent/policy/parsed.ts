/** What a parser of one value gives: the value, or why not and what to write instead (both without the place). */
export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly message: string; readonly remedy: string };

/** Returns a successful result. */
export function accept<T>(value: T): Parsed<T> {
  return { ok: true, value };
}

/** Returns a refusal: what is wrong, and what a person does about it. */
export function refuse(message: string, remedy: string): { ok: false; message: string; remedy: string } {
  return { ok: false, message, remedy };
}

const MAX_QUOTED_LENGTH = 80;

/**
 * Returns hostile text made safe to print: in quotes, cut after 80 characters, everything outside printable ASCII as
 * `\u{…}`, so that no terminal sequence, direction override or look-alike letter reaches a person unseen.
 */
export function quoteText(text: string): string {
  const cut = text.length > MAX_QUOTED_LENGTH ? `${text.slice(0, MAX_QUOTED_LENGTH)}…` : text;
  const escaped = JSON.stringify(cut).replaceAll("…", "...");
  return escaped.replace(/[^\x20-\x7e]/gu, (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`);
}
