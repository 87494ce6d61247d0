/** DNS messages as bytes (RFC 1035, 6891, 8914): the numbers, and reading names without ever leaving the buffer. */

export const rrType = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  TXT: 16,
  AAAA: 28,
  DNAME: 39,
  OPT: 41,
  DS: 43,
  RRSIG: 46,
  NSEC: 47,
  NSEC3: 50,
  SVCB: 64,
  HTTPS: 65,
} as const;

export const rcode = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;

export const CLASS_IN = 1;
export const HEADER_BYTES = 12;
/** The smallest UDP answer that every client takes (RFC 1035), and the largest that is not fragmented (DNS flag day 2020). */
export const MIN_UDP_BYTES = 512;
export const MAX_UDP_BYTES = 1232;
export const MAX_NAME_BYTES = 255;
/** Option code of extended DNS errors, and those of its codes that are sent (RFC 8914). */
export const EDE_OPTION = 15;
export const ede = { NOT_READY: 14, BLOCKED: 15, NETWORK_ERROR: 23 } as const;

/** Flag bits of the second 16-bit word of the header. */
export const flag = { QR: 0x8000, AA: 0x0400, TC: 0x0200, RD: 0x0100, RA: 0x0080, AD: 0x0020, CD: 0x0010 } as const;

const typeNames = new Map<number, string>([
  ...Object.entries(rrType).map(([name, code]): [number, string] => [code, name]),
  [10, "NULL"],
  [15, "MX"],
  [33, "SRV"],
  [48, "DNSKEY"],
  [251, "IXFR"],
  [252, "AXFR"],
  [255, "ANY"],
]);

/** Returns the mnemonic of a record type, or `TYPE1234` (RFC 3597). */
export function typeText(type: number): string {
  return typeNames.get(type) ?? `TYPE${type}`;
}

/** Returns whether a type is no data type (RFC 6895: 0, OPT, 128–255 with ANY, AXFR, TKEY …), which is never forwarded. */
export function isMetaType(type: number): boolean {
  return type === 0 || type === rrType.OPT || (type >= 128 && type <= 255) || type === 65535;
}

/** Returns the offset behind a name that is written out (no compression), or -1 when it is cut off, too long or compressed. */
export function skipPlainName(message: Buffer, start: number): number {
  let at = start;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63) return -1;
    at += 1 + length;
    if (at - start > MAX_NAME_BYTES || at > message.length) return -1;
    if (length === 0) return at;
  }
}

/** Returns the offset behind a name that may end in a pointer, or -1. A pointer must lead backwards, so no chain of them can loop. */
export function skipName(message: Buffer, start: number): number {
  let at = start;
  for (;;) {
    const length = message[at];
    if (length === undefined) return -1;
    if (length >= 0xc0) {
      if (at + 2 > message.length) return -1;
      const target = message.readUInt16BE(at) & 0x3fff;
      return target >= HEADER_BYTES && target < start ? at + 2 : -1;
    }
    if (length > 63) return -1;
    at += 1 + length;
    if (at - start > MAX_NAME_BYTES || at > message.length) return -1;
    if (length === 0) return at;
  }
}

/** Returns the text of a written-out name in lower case without a trailing dot, or null when a byte is outside letters, digits, `-` and `_`. */
export function plainNameText(name: Buffer): string | null {
  const text = Buffer.allocUnsafe(name.length);
  let labelEnd = 0;
  for (let at = 0; at < name.length; at++) {
    const byte = name[at] ?? 0;
    if (at === labelEnd) {
      labelEnd = at + 1 + byte;
      text[at] = 0x2e;
      continue;
    }
    const lower = byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
    const isHostByte =
      (lower >= 0x61 && lower <= 0x7a) || (byte >= 0x30 && byte <= 0x39) || byte === 0x2d || byte === 0x5f;
    if (!isHostByte) return null;
    text[at] = lower;
  }
  return text.toString("latin1", 1, Math.max(1, name.length - 1));
}

/** Returns a written-out name of any bytes for people: unusual bytes as `\DDD` (RFC 1035 §5.1). */
export function escapedNameText(name: Buffer): string {
  let text = "";
  let labelEnd = 0;
  for (let at = 0; at < name.length - 1; at++) {
    const byte = name[at] ?? 0;
    if (at === labelEnd) {
      labelEnd = at + 1 + byte;
      if (at > 0) text += ".";
    } else if (byte > 0x20 && byte < 0x7f && byte !== 0x2e && byte !== 0x5c) text += String.fromCharCode(byte);
    else text += `\\${String(byte).padStart(3, "0")}`;
  }
  return text.toLowerCase();
}

/** Returns the text of a name anywhere in a message, following pointers backwards at most 16 times; null when it is broken. */
export function readNameText(message: Buffer, start: number): string | null {
  let at = start;
  let limit = start;
  let hops = 0;
  const labels: string[] = [];
  for (let bytes = 0; bytes <= MAX_NAME_BYTES; ) {
    const length = message[at];
    if (length === undefined) return null;
    if (length === 0) return labels.join(".").toLowerCase();
    if (length >= 0xc0) {
      if (at + 2 > message.length || ++hops > 16) return null;
      const target = message.readUInt16BE(at) & 0x3fff;
      if (target < HEADER_BYTES || target >= limit) return null;
      limit = target;
      at = target;
      continue;
    }
    if (length > 63 || at + 1 + length > message.length) return null;
    labels.push(message.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
    bytes += 1 + length;
  }
  return null;
}

/** Returns the wire form of a name's text (letters, digits, `-`, `_`). @throws RangeError when a label or the name is too long. */
export function encodeName(text: string): Buffer {
  if (text === "") return Buffer.from([0]);
  const bytes = Buffer.allocUnsafe(text.length + 2);
  let at = 0;
  for (const label of text.split(".")) {
    if (label.length === 0 || label.length > 63) throw new RangeError(`a label of ${label.length} bytes in ${text}`);
    bytes[at] = label.length;
    at += 1 + bytes.write(label, at + 1, "latin1");
  }
  bytes[at] = 0;
  if (at + 1 > MAX_NAME_BYTES) throw new RangeError(`a name of ${at + 1} bytes`);
  return bytes.subarray(0, at + 1);
}
