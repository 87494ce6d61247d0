import { FLAG_REQUEST, NLMSG_ERROR } from "../host/netlink.ts";
import { addressBytes } from "./addresses.ts";
import { checkedMark, KERNEL_SETS, KERNEL_TABLE, type KernelElement, type KernelStep } from "./kernel-change.ts";

/*
 * nf_tables batches as the kernel reads them (linux/netlink.h, linux/netfilter/nfnetlink.h, nf_tables.h). libnftables
 * would do this too, but before each transaction it reads back every interval map of the table: with 10,000 hosts in
 * `group4` that takes 44 ms and 90 MB, against 0.1 ms for the element alone (measured with nft 1.0.6).
 * Numbers are in host order except where noted; every host that Node and this program support is little-endian.
 */

const BATCH_BEGIN = 0x10;
const BATCH_END = 0x11;
const SUBSYSTEM_NFTABLES = 10;
const NEW_ELEMENTS = (SUBSYSTEM_NFTABLES << 8) | 12;
const DELETE_ELEMENTS = (SUBSYSTEM_NFTABLES << 8) | 14;
const FLAG_ACK = 4;
const FLAG_CREATE = 0x400;
const NESTED = 0x8000;
const FAMILY_INET = 1;
const LIST = { table: 1, set: 2, elements: 3 } as const;
const ELEMENT = { key: 1, data: 2, timeout: 4 } as const;
const DATA_VALUE = 1;
const LIST_ELEMENT = 1;
/** An attribute's length is 16 bits; the list of elements is one attribute. */
const MAX_LIST_BYTES = 60_000;

/**
 * Returns one batch (a transaction: all or nothing) for the steps. Only the message before the last one asks for an
 * acknowledgement: errors come unasked, and one acknowledgement proves that the batch was committed.
 * @throws RangeError when a part is no mark or no address.
 */
export function encodeBatch(steps: readonly KernelStep[], firstSequence: number): EncodedBatch {
  const messages: Buffer[] = [batchEdge(BATCH_BEGIN, firstSequence)];
  let sequence = firstSequence;
  let last: Buffer | null = null;
  for (const step of steps) {
    for (const set of KERNEL_SETS) {
      for (const list of elementLists(step.elements.filter((element) => element.set === set))) {
        sequence += 1;
        last = elementsMessage(step.verb, set, list, sequence);
        messages.push(last);
      }
    }
  }
  if (last !== null) last.writeUInt16LE(last.readUInt16LE(6) | FLAG_ACK, 6);
  messages.push(batchEdge(BATCH_END, sequence + 1));
  return { bytes: Buffer.concat(messages), firstSequence, ackSequence: sequence, nextSequence: sequence + 2 };
}

export interface EncodedBatch {
  readonly bytes: Buffer;
  readonly firstSequence: number;
  readonly ackSequence: number;
  readonly nextSequence: number;
}

/** Returns what a datagram of replies says: the first errno (positive; 0 when none), and whether the acknowledgement was in it. */
export function readReplies(bytes: Buffer, batch: EncodedBatch): { readonly errno: number; readonly isAcked: boolean } {
  let errno = 0;
  let isAcked = false;
  for (let at = 0; at + 20 <= bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    if (length < 20 || at + length > bytes.length) break;
    const sequence = bytes.readUInt32LE(at + 8);
    const isOurs = sequence >= batch.firstSequence && sequence < batch.nextSequence;
    if (bytes.readUInt16LE(at + 4) === NLMSG_ERROR && isOurs) {
      const code = -bytes.readInt32LE(at + 16);
      if (code !== 0 && errno === 0) errno = code;
      if (code === 0 && sequence === batch.ackSequence) isAcked = true;
    }
    at += (length + 3) & ~3;
  }
  return { errno, isAcked };
}

function batchEdge(type: number, sequence: number): Buffer {
  const message = Buffer.alloc(20);
  writeHeader(message, type, FLAG_REQUEST, sequence);
  message.writeUInt16BE(SUBSYSTEM_NFTABLES, 18);
  return message;
}

function elementsMessage(verb: "add" | "delete", set: string, list: Buffer, sequence: number): Buffer {
  const head = Buffer.alloc(20);
  const message = Buffer.concat([
    head,
    attribute(LIST.table, Buffer.from(`${KERNEL_TABLE}\0`)),
    attribute(LIST.set, Buffer.from(`${set}\0`)),
    attribute(LIST.elements | NESTED, list),
  ]);
  const flags = FLAG_REQUEST | (verb === "add" ? FLAG_CREATE : 0);
  writeHeader(message, verb === "add" ? NEW_ELEMENTS : DELETE_ELEMENTS, flags, sequence);
  message[16] = FAMILY_INET;
  return message;
}

function writeHeader(message: Buffer, type: number, flags: number, sequence: number): void {
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(type, 4);
  message.writeUInt16LE(flags, 6);
  message.writeUInt32LE(sequence, 8);
}

function elementLists(elements: readonly KernelElement[]): readonly Buffer[] {
  const lists: Buffer[] = [];
  let open: Buffer[] = [];
  let openBytes = 0;
  for (const element of elements) {
    const bytes = elementAttribute(element);
    if (openBytes + bytes.length > MAX_LIST_BYTES) {
      lists.push(Buffer.concat(open));
      open = [];
      openBytes = 0;
    }
    open.push(bytes);
    openBytes += bytes.length;
  }
  if (open.length > 0) lists.push(Buffer.concat(open));
  return lists;
}

function elementAttribute(element: KernelElement): Buffer {
  const parts = [attribute(ELEMENT.key | NESTED, attribute(DATA_VALUE, Buffer.concat(element.key.map(keyPart))))];
  if (element.data !== null) {
    parts.push(attribute(ELEMENT.data | NESTED, attribute(DATA_VALUE, markBytes(element.data))));
  }
  if (element.timeoutS !== null) {
    const timeoutMs = Buffer.allocUnsafe(8);
    timeoutMs.writeBigUInt64BE(BigInt(checkedMark(element.timeoutS)) * 1000n);
    parts.push(attribute(ELEMENT.timeout, timeoutMs));
  }
  return attribute(LIST_ELEMENT | NESTED, Buffer.concat(parts));
}

/** A part of a concatenated key: 4 or 16 bytes, so none needs padding. Addresses in network order, marks in host order. */
function keyPart(part: string | number): Buffer {
  if (typeof part === "number") return markBytes(part);
  const bytes = addressBytes(part);
  if (bytes === null) throw new RangeError(`not an address: ${part}`);
  return bytes;
}

function markBytes(mark: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32LE(checkedMark(mark));
  return bytes;
}

function attribute(type: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc((4 + value.length + 3) & ~3);
  bytes.writeUInt16LE(4 + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  value.copy(bytes, 4);
  return bytes;
}
