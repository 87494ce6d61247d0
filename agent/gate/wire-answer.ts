import { addressText4, addressText6 } from "./addresses.ts";
import { CLASS_IN, flag, HEADER_BYTES, MAX_UDP_BYTES, rcode, readNameText, rrType, skipName } from "./wire.ts";
import type { Query } from "./wire-query.ts";

/** An address that an answer gives, in canonical text, with its time to live after clamping. */
export interface AnsweredAddress {
  readonly family: 4 | 6;
  readonly address: string;
  readonly ttlS: number;
}

/** An upstream answer that was walked to its end: every record lies within the message. */
export interface Answer {
  /** Header to the end of the authority section; times to live are clamped in it. */
  readonly bytes: Buffer;
  readonly rcode: number;
  readonly isTruncated: boolean;
  readonly isAuthentic: boolean;
  readonly answerCount: number;
  readonly authorityCount: number;
  readonly addresses: readonly AnsweredAddress[];
  /** Where CNAME records lead, in lower case: names that the asked one is an alias of. */
  readonly aliases: readonly string[];
}

/** The most that clients are told to keep anything; a removed name is forgotten by them within this. */
export const MAX_CLIENT_TTL_S = 300;

/** Records that may stand in an authority section; anything else there (addresses above all) drops the whole section. */
const AUTHORITY_TYPES: ReadonlySet<number> = new Set([
  rrType.NS,
  rrType.SOA,
  rrType.RRSIG,
  rrType.NSEC,
  rrType.NSEC3,
  rrType.DS,
]);

/** Returns whether a message is an answer to a query that was sent: same id, QR, opcode 0, and byte for byte the same question. */
export function answersQuery(message: Buffer, query: Buffer, questionEnd: number): boolean {
  if (message.length < questionEnd) return false;
  if (message.readUInt16BE(0) !== query.readUInt16BE(0)) return false;
  const flags = message.readUInt16BE(2);
  if ((flags & flag.QR) === 0 || (flags & 0x7800) !== 0 || message.readUInt16BE(4) !== 1) return false;
  return message.compare(query, HEADER_BYTES, questionEnd, HEADER_BYTES, questionEnd) === 0;
}

/**
 * Returns an upstream answer taken apart, or null when it is malformed or holds answers of a type that was not asked for.
 * Clamps times to live in place (units: seconds; RFC 2181 §8: the top bit set means 0).
 */
export function parseAnswer(message: Buffer, questionEnd: number): Answer | null {
  const flags = message.readUInt16BE(2);
  const type = message.readUInt16BE(questionEnd - 4);
  const addresses: AnsweredAddress[] = [];
  const aliases: string[] = [];
  const answerCount = message.readUInt16BE(6);
  let at = questionEnd;
  for (let index = 0; index < answerCount; index++) {
    const record = readRecord(message, at);
    if (record === null || record.class !== CLASS_IN || !mayAnswer(record.type, type)) return null;
    const address = clampAndCollect(message, record);
    if (address === "malformed") return null;
    if (address !== null) addresses.push(address);
    if (record.type === rrType.CNAME) {
      const alias = readNameText(message, record.data);
      if (alias === null) return null;
      aliases.push(alias);
    }
    at = record.end;
  }
  const answerEnd = at;
  let authorityCount = message.readUInt16BE(8);
  let isAuthorityClean = true;
  for (let index = 0; index < authorityCount; index++) {
    const record = readRecord(message, at);
    if (record === null) return null;
    isAuthorityClean &&= AUTHORITY_TYPES.has(record.type) && record.class === CLASS_IN;
    clampTtl(message, record);
    at = record.end;
  }
  if (!isAuthorityClean) {
    authorityCount = 0;
    at = answerEnd;
  }
  return {
    bytes: message.subarray(0, at),
    rcode: flags & 0xf,
    isTruncated: (flags & flag.TC) !== 0,
    isAuthentic: (flags & flag.AD) !== 0,
    answerCount,
    authorityCount,
    addresses,
    aliases,
  };
}

/** Returns the message for a client: its id and flags, its spelling of the name, and TC with nothing but the question when it does not fit. */
export function buildAnswer(answer: Answer, query: Query, maxBytes: number): Buffer {
  const questionEnd = HEADER_BYTES + query.nameBytes.length + 4;
  const optBytes = query.edns === null ? 0 : 11;
  const isTruncated = answer.isTruncated || answer.bytes.length + optBytes > maxBytes;
  const end = isTruncated ? questionEnd : answer.bytes.length;
  const message = Buffer.allocUnsafe(end + optBytes);
  answer.bytes.copy(message, 0, 0, end);
  query.nameBytes.copy(message, HEADER_BYTES);
  message.writeUInt16BE(query.id, 0);
  const isAuthentic = answer.isAuthentic && query.wantsAuthenticData && !isTruncated;
  message.writeUInt16BE(
    flag.QR |
      flag.RA |
      (isTruncated ? flag.TC : 0) |
      (query.recursionDesired ? flag.RD : 0) |
      (isAuthentic ? flag.AD : 0) |
      (query.checkingDisabled ? flag.CD : 0) |
      (answer.rcode === rcode.NOERROR || answer.rcode === rcode.NXDOMAIN ? answer.rcode : rcode.SERVFAIL),
    2,
  );
  message.writeUInt16BE(isTruncated ? 0 : answer.answerCount, 6);
  message.writeUInt16BE(isTruncated ? 0 : answer.authorityCount, 8);
  message.writeUInt16BE(optBytes === 0 ? 0 : 1, 10);
  if (query.edns !== null) {
    message.fill(0, end);
    message.writeUInt16BE(rrType.OPT, end + 1);
    message.writeUInt16BE(MAX_UDP_BYTES, end + 3);
    if (query.edns.dnssecOk) message[end + 7] = 0x80;
  }
  return message;
}

/** Returns the owner names of SOA records in the additional section, where RPZ names the zone that rewrote; null when malformed. */
export function additionalSoaOwners(message: Buffer, questionEnd: number): readonly string[] | null {
  const before = message.readUInt16BE(6) + message.readUInt16BE(8);
  const all = before + message.readUInt16BE(10);
  const owners: string[] = [];
  let at = questionEnd;
  for (let index = 0; index < all; index++) {
    const record = readRecord(message, at);
    if (record === null) return null;
    const owner = index >= before && record.type === rrType.SOA ? readNameText(message, at) : null;
    if (owner !== null) owners.push(owner);
    at = record.end;
  }
  return owners;
}

/** Returns the texts of the TXT records in an answer section, or null when it is malformed. */
export function answeredTexts(message: Buffer, questionEnd: number): readonly string[] | null {
  const texts: string[] = [];
  let at = questionEnd;
  for (let index = message.readUInt16BE(6); index > 0; index--) {
    const record = readRecord(message, at);
    if (record === null) return null;
    if (record.type === rrType.TXT) {
      let text = "";
      for (let from = record.data; from < record.end; from += 1 + (message[from] ?? 0)) {
        text += message.toString("latin1", from + 1, Math.min(from + 1 + (message[from] ?? 0), record.end));
      }
      texts.push(text);
    }
    at = record.end;
  }
  return texts;
}

interface RecordPlace {
  readonly type: number;
  readonly class: number;
  /** Offsets: of the time to live, of the data, and behind it. */
  readonly ttl: number;
  readonly data: number;
  readonly end: number;
}

function readRecord(message: Buffer, start: number): RecordPlace | null {
  const nameEnd = skipName(message, start);
  if (nameEnd < 0 || nameEnd + 10 > message.length) return null;
  const data = nameEnd + 10;
  const end = data + message.readUInt16BE(nameEnd + 8);
  if (end > message.length) return null;
  return { type: message.readUInt16BE(nameEnd), class: message.readUInt16BE(nameEnd + 2), ttl: nameEnd + 4, data, end };
}

/** Returns whether a record type may stand in the answer to a question: the type itself, and what leads to it or proves it. */
function mayAnswer(recordType: number, asked: number): boolean {
  return (
    recordType === asked || recordType === rrType.CNAME || recordType === rrType.DNAME || recordType === rrType.RRSIG
  );
}

function clampTtl(message: Buffer, record: RecordPlace): number {
  const ttl = message.readUInt32BE(record.ttl);
  const clamped = ttl > 0x7fffffff ? 0 : Math.min(ttl, MAX_CLIENT_TTL_S);
  if (clamped !== ttl) message.writeUInt32BE(clamped, record.ttl);
  return clamped;
}

function clampAndCollect(message: Buffer, record: RecordPlace): AnsweredAddress | null | "malformed" {
  const ttlS = clampTtl(message, record);
  const length = record.end - record.data;
  if (record.type === rrType.A) {
    return length === 4 ? { family: 4, address: addressText4(message, record.data), ttlS } : "malformed";
  }
  if (record.type === rrType.AAAA) {
    return length === 16 ? { family: 6, address: addressText6(message, record.data), ttlS } : "malformed";
  }
  return null;
}
