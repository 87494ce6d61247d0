/** Addresses in answers: their canonical text (as the kernel's tools print it) and which of them a name may never or not simply lead to. */
import { type AddressKind, embeddingPrefixes, specialNetworks } from "../policy/address-kinds.ts";

/** Returns the text of four bytes. */
export function addressText4(bytes: Buffer, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

/** Returns the text of sixteen bytes: lower case, the first longest run of two or more zero groups as `::` (RFC 5952). */
export function addressText6(bytes: Buffer, at: number): string {
  const groups: number[] = [];
  for (let index = 0; index < 8; index++) groups.push(bytes.readUInt16BE(at + 2 * index));
  let runStart = -1;
  let runLength = 1;
  for (let index = 0; index < 8; index++) {
    let end = index;
    while (end < 8 && groups[end] === 0) end++;
    if (end - index > runLength) {
      runStart = index;
      runLength = end - index;
    }
    if (end > index) index = end;
  }
  const hex = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(":");
  return runStart < 0 ? hex(0, 8) : `${hex(0, runStart)}::${hex(runStart + runLength, 8)}`;
}

/** Returns the bytes of an address in text; null when it is none. Takes `::`, and a dotted quad only as a whole IPv4 address. */
export function addressBytes(text: string): Buffer | null {
  return text.includes(":") ? bytes6(text) : bytes4(text);
}

function bytes4(text: string): Buffer | null {
  const parts = text.split(".");
  if (parts.length !== 4) return null;
  const bytes = Buffer.allocUnsafe(4);
  for (const [index, part] of parts.entries()) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return null;
    bytes[index] = Number(part);
  }
  return bytes;
}

function bytes6(text: string): Buffer | null {
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const head = halves[0] === "" ? [] : (halves[0] ?? "").split(":");
  const tail = halves[1] === undefined || halves[1] === "" ? [] : halves[1].split(":");
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return null;
  const bytes = Buffer.alloc(16);
  for (const [index, group] of [...head, ...Array<string>(missing).fill("0"), ...tail].entries()) {
    if (!/^[0-9a-f]{1,4}$/.test(group)) return null;
    bytes.writeUInt16BE(Number.parseInt(group, 16), index * 2);
  }
  return bytes;
}

interface Row {
  readonly prefix: Buffer;
  readonly bits: number;
  readonly kind: AddressKind;
}

const rows: readonly Row[] = specialNetworks.map(([text, kind]) => {
  const [address, bits] = text.split("/");
  const prefix = addressBytes(address ?? "");
  if (prefix === null) throw new RangeError(`not a network: ${text}`);
  return { prefix, bits: Number(bits), kind };
});

/** Returns whether an address in canonical text is in fe80::/10 (RFC 4291 §2.5.6): it says on which link, and not who. */
export function isLinkLocal(address: string): boolean {
  return /^fe[89ab][0-9a-f]:/.test(address);
}

const embeddings: readonly { readonly prefix: Buffer; readonly bits: number; readonly offset: number }[] =
  embeddingPrefixes.map(({ prefix: text, bits }) => {
    const prefix = addressBytes(text);
    if (prefix === null) throw new RangeError(`not a prefix: ${text}`);
    return { prefix, bits, offset: bits / 8 };
  });

/** Returns who may be led to an address; an IPv4 address inside an IPv6 one is judged as itself. A text that is no address: `never`. */
export function addressKind(text: string): AddressKind {
  const bytes = addressBytes(text);
  return bytes === null ? "never" : kindOfBytes(bytes);
}

/** Returns the IPv4 address that a translated IPv6 address (NAT64, 6to4) leads to, or null. */
export function embeddedAddress(text: string): string | null {
  const bytes = addressBytes(text);
  if (bytes === null || bytes.length !== 16) return null;
  const found = embeddings.find(({ prefix, bits }) => startsWith(bytes, prefix, bits));
  return found === undefined ? null : addressText4(bytes, found.offset);
}

function kindOfBytes(bytes: Buffer): AddressKind {
  for (const row of rows) {
    const isSameFamily = row.prefix.length === bytes.length;
    if (isSameFamily && startsWith(bytes, row.prefix, row.bits)) return row.kind;
  }
  if (bytes.length === 16) {
    for (const { prefix, bits, offset } of embeddings) {
      if (startsWith(bytes, prefix, bits)) return kindOfBytes(bytes.subarray(offset, offset + 4));
    }
  }
  return "public";
}

function startsWith(bytes: Buffer, prefix: Buffer, bits: number): boolean {
  const whole = bits >> 3;
  for (let index = 0; index < whole; index++) if (bytes[index] !== prefix[index]) return false;
  const rest = bits & 7;
  if (rest === 0) return true;
  const mask = 0xff << (8 - rest);
  return (((bytes[whole] ?? 0) ^ (prefix[whole] ?? 0)) & mask & 0xff) === 0;
}
