/**
 * Why hostile bytes were refused. Parsers in this folder throw nothing else, and only inside `attempt`;
 * what leaves the folder is a result with the sentence in it.
 */
export class Refusal extends Error {}

export type Attempt<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly why: string };

/** Returns what the function returns, or the sentence of the Refusal that it throws. Any other error is a bug and passes through. */
export function attempt<T>(work: () => T): Attempt<T> {
  try {
    return { ok: true, value: work() };
  } catch (error) {
    if (error instanceof Refusal) return { ok: false, why: error.message };
    throw error;
  }
}

/** Reads the fields of SSH's binary encoding in order; every method throws Refusal when the bytes are not there. */
export interface WireReader {
  /** The next `length` bytes. */
  raw(field: string, length: number): Buffer;
  byte(field: string): number;
  uint32(field: string): number;
  /** A length-prefixed byte string. */
  string(field: string): Buffer;
  /** A length-prefixed string that must be printable ASCII. */
  text(field: string): string;
  /** A positive integer in minimal two's complement, as unsigned big-endian bytes without leading zeros. */
  positive(field: string): Buffer;
  /** How many bytes are not read yet. */
  left(): number;
  /** The bytes that are not read yet; reading them goes on. */
  rest(): Buffer;
  /** Throws unless everything was read. */
  end(): void;
}

/** Returns a reader over bytes; `what` names them in refusals. @see RFC 4251 §5 */
export function readWire(bytes: Buffer, what: string): WireReader {
  let offset = 0;
  const raw = (field: string, length: number): Buffer => {
    if (length > bytes.length - offset) throw new Refusal(`${what} ends inside ${field}`);
    offset += length;
    return bytes.subarray(offset - length, offset);
  };
  const uint32 = (field: string): number => raw(field, 4).readUInt32BE(0);
  const string = (field: string): Buffer => raw(field, uint32(field));
  return {
    raw,
    byte: (field) => raw(field, 1).readUInt8(0),
    uint32,
    string,
    text: (field) => {
      const value = string(field).toString("latin1");
      if (!/^[\x20-\x7e]*$/.test(value)) throw new Refusal(`${field} of ${what} is not printable ASCII`);
      return value;
    },
    positive: (field) => readPositive(string(field), field, what),
    left: () => bytes.length - offset,
    rest: () => bytes.subarray(offset),
    end: () => {
      if (offset !== bytes.length) throw new Refusal(`${what} has ${bytes.length - offset} bytes too many`);
    },
  };
}

function readPositive(bytes: Buffer, field: string, what: string): Buffer {
  const [first = 0, second = 0] = bytes;
  if (bytes.length === 0 || first >= 0x80) throw new Refusal(`${field} of ${what} is not a positive number`);
  if (first !== 0) return bytes;
  if (second < 0x80) throw new Refusal(`${field} of ${what} has a needless leading zero`);
  return bytes.subarray(1);
}

/** Returns the bytes with their length in front. @see RFC 4251 §5, `string` */
export function wireString(value: Buffer | string): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/**
 * Returns the bytes of padded base64 that has exactly one spelling: no foreign characters, no spare bits.
 * Two texts for one key or signature would be two things to compare.
 */
export function decodeBase64(text: string, what: string): Buffer {
  const bytes = Buffer.from(text, "base64");
  if (text === "" || bytes.toString("base64") !== text) throw new Refusal(`${what} is not strict base64`);
  return bytes;
}
