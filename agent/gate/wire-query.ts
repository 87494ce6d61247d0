import {
  CLASS_IN,
  flag,
  HEADER_BYTES,
  MAX_UDP_BYTES,
  MIN_UDP_BYTES,
  plainNameText,
  rcode,
  rrType,
  skipPlainName,
} from "./wire.ts";

/** What is kept of a client's query. Nothing else of its bytes goes on: no options, no other flags. */
export interface Query {
  readonly id: number;
  readonly recursionDesired: boolean;
  readonly checkingDisabled: boolean;
  /** The client understands the AD bit: it set AD or DO (RFC 6840 §5.7). */
  readonly wantsAuthenticData: boolean;
  /** The name as it was written, so that the answer carries the same case back. */
  readonly nameBytes: Buffer;
  /** The name in lower case without trailing dot (`""` is the root); null when it holds a byte that no host name has. */
  readonly name: string | null;
  readonly type: number;
  readonly class: number;
  /** Null when the client sent no OPT record. `udpBytes` is already held between 512 and 1232. */
  readonly edns: { readonly udpBytes: number; readonly dnssecOk: boolean } | null;
}

/** A query; or one that gets an error at once; or bytes that are dropped, since an answer to them could start a loop. */
export type ParsedQuery =
  | { readonly kind: "query"; readonly query: Query }
  | { readonly kind: "error"; readonly answer: Buffer; readonly rcode: number }
  | { readonly kind: "drop" };

const DROP: ParsedQuery = { kind: "drop" };

/** Returns what a client's message asks. Never throws, whatever the bytes are. */
export function parseQuery(message: Buffer): ParsedQuery {
  if (message.length < HEADER_BYTES) return DROP;
  const flags = message.readUInt16BE(2);
  if ((flags & flag.QR) !== 0) return DROP;
  if ((flags & 0x7800) !== 0) return bareError(message, rcode.NOTIMP);
  const additional = message.readUInt16BE(10);
  const isPlain =
    message.readUInt16BE(4) === 1 &&
    message.readUInt16BE(6) === 0 &&
    message.readUInt16BE(8) === 0 &&
    additional <= 1 &&
    (flags & flag.TC) === 0;
  const nameEnd = skipPlainName(message, HEADER_BYTES);
  if (!isPlain || nameEnd < 0 || nameEnd + 4 > message.length) return bareError(message, rcode.FORMERR);
  const edns = additional === 1 ? parseOpt(message, nameEnd + 4) : null;
  if (edns === "malformed" || (edns === null && nameEnd + 4 !== message.length)) {
    return bareError(message, rcode.FORMERR);
  }
  if (edns !== null && edns.version !== 0) return badVersion(message, nameEnd + 4);
  const nameBytes = message.subarray(HEADER_BYTES, nameEnd);
  return {
    kind: "query",
    query: {
      id: message.readUInt16BE(0),
      recursionDesired: (flags & flag.RD) !== 0,
      checkingDisabled: (flags & flag.CD) !== 0,
      wantsAuthenticData: (flags & flag.AD) !== 0 || edns?.dnssecOk === true,
      nameBytes,
      name: plainNameText(nameBytes),
      type: message.readUInt16BE(nameEnd),
      class: message.readUInt16BE(nameEnd + 2),
      edns: edns === null ? null : { udpBytes: edns.udpBytes, dnssecOk: edns.dnssecOk },
    },
  };
}

/** Reads the one additional record, which must be an OPT record that ends the message. Its options are checked for bounds and forgotten. */
function parseOpt(
  message: Buffer,
  start: number,
): { readonly udpBytes: number; readonly dnssecOk: boolean; readonly version: number } | "malformed" {
  if (start + 11 > message.length || message[start] !== 0) return "malformed";
  if (message.readUInt16BE(start + 1) !== rrType.OPT) return "malformed";
  if (start + 11 + message.readUInt16BE(start + 9) !== message.length) return "malformed";
  for (let at = start + 11; at < message.length; ) {
    if (at + 4 > message.length) return "malformed";
    at += 4 + message.readUInt16BE(at + 2);
    if (at > message.length) return "malformed";
  }
  return {
    udpBytes: Math.min(Math.max(message.readUInt16BE(start + 3), MIN_UDP_BYTES), MAX_UDP_BYTES),
    dnssecOk: ((message[start + 7] ?? 0) & 0x80) !== 0,
    version: message[start + 6] ?? 0,
  };
}

/** An error that repeats nothing but the id, the opcode and RD: the rest of the message could not be trusted to be a question. */
function bareError(message: Buffer, code: number): ParsedQuery {
  const answer = Buffer.alloc(HEADER_BYTES);
  message.copy(answer, 0, 0, 2);
  answer.writeUInt16BE(flag.QR | (message.readUInt16BE(2) & (0x7800 | flag.RD)) | code, 2);
  return { kind: "error", answer, rcode: code };
}

/** BADVERS (RFC 6891 §6.1.3): the question, and an OPT record with version 0 and the upper bits of the code. */
function badVersion(message: Buffer, questionEnd: number): ParsedQuery {
  const answer = Buffer.alloc(questionEnd + 11);
  message.copy(answer, 0, 0, questionEnd);
  answer.writeUInt16BE(flag.QR | flag.RA | (message.readUInt16BE(2) & flag.RD), 2);
  answer.writeUInt16BE(1, 10);
  answer.writeUInt16BE(rrType.OPT, questionEnd + 1);
  answer.writeUInt16BE(MAX_UDP_BYTES, questionEnd + 3);
  answer[questionEnd + 5] = rcode.BADVERS >> 4;
  return { kind: "error", answer, rcode: rcode.BADVERS };
}

/** What named is asked: built from parts, so that no byte of a client's message travels on. */
export interface Question {
  /** Wire form, lower case. */
  readonly nameBytes: Buffer;
  readonly type: number;
  readonly dnssecOk: boolean;
  readonly checkingDisabled: boolean;
}

/** Returns the message for a question, with RD and AD set and one OPT record without options. */
export function buildQuery(id: number, question: Question): Buffer {
  const questionEnd = HEADER_BYTES + question.nameBytes.length + 4;
  const message = Buffer.alloc(questionEnd + 11);
  message.writeUInt16BE(id, 0);
  message.writeUInt16BE(flag.RD | flag.AD | (question.checkingDisabled ? flag.CD : 0), 2);
  message.writeUInt16BE(1, 4);
  message.writeUInt16BE(1, 10);
  question.nameBytes.copy(message, HEADER_BYTES);
  message.writeUInt16BE(question.type, questionEnd - 4);
  message.writeUInt16BE(CLASS_IN, questionEnd - 2);
  message.writeUInt16BE(rrType.OPT, questionEnd + 1);
  message.writeUInt16BE(MAX_UDP_BYTES, questionEnd + 3);
  if (question.dnssecOk) message[questionEnd + 7] = 0x80;
  return message;
}
