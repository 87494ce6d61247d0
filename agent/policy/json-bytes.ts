import { isUtf8 } from "node:buffer";

/** A problem at a position of a text: 1-based line and column (UTF-16 units). */
export interface PositionAt {
  readonly line: number;
  readonly column: number;
  readonly message: string;
  readonly remedy: string;
}

/** The text, or why it is none. */
export type CheckedText = { readonly ok: true; readonly text: string } | ({ readonly ok: false } & PositionAt);

const LINE_FEED = 0x0a;
const LFS_POINTER = Buffer.from("version https://git-lfs.github.com/spec/");

/** Returns the text of UTF-8 bytes, or where and why they are none: too many, a byte order mark, UTF-16, invalid UTF-8. */
export function decodeText(bytes: Uint8Array, maxBytes: number): CheckedText {
  const first = (message: string, remedy: string) => ({ ok: false as const, line: 1, column: 1, message, remedy });
  if (bytes.length > maxBytes) {
    return first(`the file has ${bytes.length} bytes; at most ${maxBytes} are read`, "make the file smaller");
  }
  if (LFS_POINTER.equals(bytes.subarray(0, LFS_POINTER.length))) {
    return first("the file is a Git LFS pointer, not the text itself", "take it out of Git LFS and commit the text");
  }
  const [a = -1, b = -1, c = -1] = bytes;
  const asUtf8 = "save the file as UTF-8 without a byte order mark";
  if (a === 0xef && b === 0xbb && c === 0xbf) return first("the file begins with a byte order mark", asUtf8);
  if ((a === 0xfe && b === 0xff) || (a === 0xff && b === 0xfe) || a === 0 || b === 0) {
    return first("the file is UTF-16 or UTF-32", asUtf8);
  }
  if (isUtf8(bytes))
    return { ok: true, text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
  return { ok: false, ...findInvalidUtf8(bytes), message: "the bytes are not valid UTF-8", remedy: asUtf8 };
}

function findInvalidUtf8(bytes: Uint8Array): { line: number; column: number } {
  let start = 0;
  for (let line = 1; ; line++) {
    const feed = bytes.indexOf(LINE_FEED, start);
    const content = bytes.subarray(start, feed === -1 ? bytes.length : feed);
    if (!isUtf8(content) || feed === -1) {
      const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(content);
      return { line, column: Math.max(0, text.indexOf("\ufffd")) + 1 };
    }
    start = feed + 1;
  }
}

/** Returns the 1-based line and column of an offset; a line ends in LF, CR LF or CR. */
export function positionOf(text: string, offset: number): { readonly line: number; readonly column: number } {
  const lines = text.slice(0, offset).split(/\r\n|[\n\r]/);
  return { line: lines.length, column: (lines.at(-1) ?? "").length + 1 };
}

/**
 * Returns the text when its nesting is at most maxDepth and no string holds a raw control character; else the place.
 * The parser behind would accept the second and overflow its stack on the first.
 */
export function scanText(text: string, maxDepth: number): CheckedText {
  let depth = 0;
  for (let offset = 0; offset < text.length; offset++) {
    const code = text.charCodeAt(offset);
    if (code === 0x22) {
      offset = findStringEnd(text, offset + 1);
      const end = text.charCodeAt(offset);
      if (end < 0x20) {
        const message = `a string contains the raw control character U+${hex4(end)}`;
        return { ok: false, ...positionOf(text, offset), message, remedy: "close the quote before it, or remove it" };
      }
    } else if (code === 0x5b || code === 0x7b) {
      depth++;
      if (depth > maxDepth) {
        const message = `there are more than ${maxDepth} levels of nesting`;
        return { ok: false, ...positionOf(text, offset), message, remedy: "nest less deeply" };
      }
    } else if (code === 0x5d || code === 0x7d) depth--;
  }
  return { ok: true, text };
}

/** Returns the offset of the closing quote, of the first raw control character, or the length of the text. */
function findStringEnd(text: string, start: number): number {
  let offset = start;
  for (; offset < text.length; offset++) {
    const code = text.charCodeAt(offset);
    if (code === 0x5c) offset++;
    else if (code === 0x22 || code < 0x20) return offset;
  }
  return offset;
}

/** Returns a code point in hexadecimal, at least four digits. */
export function hex4(code: number): string {
  return code.toString(16).toUpperCase().padStart(4, "0");
}
