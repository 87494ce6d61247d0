import { EDE_OPTION, encodeName, flag, HEADER_BYTES, MAX_UDP_BYTES, rrType } from "./wire.ts";
import type { Query } from "./wire-query.ts";

/** An answer that the gate makes itself. */
export interface OwnAnswer {
  readonly rcode: number;
  /** Serial for a SOA record, which lets resolvers keep a negative answer for a moment (RFC 2308); null for none. */
  readonly soaSerial: number | null;
  /** Extended DNS error (RFC 8914), sent only to clients that sent an OPT record. */
  readonly ede: { readonly code: number; readonly text: string } | null;
}

/** Short, so that a name allowed by the next commit is not hidden for long. */
export const NEGATIVE_TTL_S = 5;

const SOA_NAMES = Buffer.concat([encodeName("clawgress.invalid"), encodeName("denied.clawgress.invalid")]);
const SOA_BYTES = 12 + SOA_NAMES.length + 20;

/** Returns the message of an own answer, at most `maxBytes` long (never below 512): the EDE text is cut first. */
export function buildOwnAnswer(query: Query, own: OwnAnswer, maxBytes: number): Buffer {
  const questionEnd = HEADER_BYTES + query.nameBytes.length + 4;
  const soaBytes = own.soaSerial === null ? 0 : SOA_BYTES;
  const optBytes = query.edns === null ? 0 : 11;
  const room = maxBytes - questionEnd - soaBytes - optBytes - 6;
  const text = query.edns !== null && own.ede !== null && room > 0 ? cutText(own.ede.text, room) : null;
  const edeBytes = text === null ? 0 : 6 + text.length;
  const message = Buffer.alloc(questionEnd + soaBytes + optBytes + edeBytes);
  message.writeUInt16BE(query.id, 0);
  const echoed = (query.recursionDesired ? flag.RD : 0) | (query.checkingDisabled ? flag.CD : 0);
  message.writeUInt16BE(flag.QR | flag.RA | echoed | own.rcode, 2);
  message.writeUInt16BE(1, 4);
  message.writeUInt16BE(soaBytes === 0 ? 0 : 1, 8);
  message.writeUInt16BE(optBytes === 0 ? 0 : 1, 10);
  query.nameBytes.copy(message, HEADER_BYTES);
  message.writeUInt16BE(query.type, questionEnd - 4);
  message.writeUInt16BE(query.class, questionEnd - 2);
  if (own.soaSerial !== null) writeSoa(message, questionEnd, query, own.soaSerial);
  if (query.edns !== null) {
    const at = questionEnd + soaBytes;
    message.writeUInt16BE(rrType.OPT, at + 1);
    message.writeUInt16BE(MAX_UDP_BYTES, at + 3);
    if (query.edns.dnssecOk) message[at + 7] = 0x80;
    message.writeUInt16BE(edeBytes, at + 9);
    if (text !== null && own.ede !== null) {
      message.writeUInt16BE(EDE_OPTION, at + 11);
      message.writeUInt16BE(2 + text.length, at + 13);
      message.writeUInt16BE(own.ede.code, at + 15);
      text.copy(message, at + 17);
    }
  }
  return message;
}

/** The owner is the name's parent, by a pointer into the question: a SOA at a name that does not exist would contradict itself. */
function writeSoa(message: Buffer, start: number, query: Query, serial: number): void {
  const firstLabel = query.nameBytes[0] ?? 0;
  message.writeUInt16BE(0xc000 | (HEADER_BYTES + (firstLabel === 0 ? 0 : 1 + firstLabel)), start);
  message.writeUInt16BE(rrType.SOA, start + 2);
  message.writeUInt16BE(query.class, start + 4);
  message.writeUInt32BE(NEGATIVE_TTL_S, start + 6);
  message.writeUInt16BE(SOA_NAMES.length + 20, start + 10);
  SOA_NAMES.copy(message, start + 12);
  let at = start + 12 + SOA_NAMES.length;
  for (const value of [serial >>> 0, 3600, 600, 86_400, NEGATIVE_TTL_S]) at = message.writeUInt32BE(value, at);
}

/** Returns the UTF-8 bytes of a text, cut before the character that would pass the limit. */
function cutText(text: string, maxBytes: number): Buffer {
  const bytes = Buffer.from(text, "utf8");
  if (bytes.length <= maxBytes) return bytes;
  let end = maxBytes;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end);
}
