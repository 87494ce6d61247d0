import { AgentError } from "../errors.ts";
import { plainText } from "../plain-text.ts";
import { onlyHead, unsupportedObjectFormat } from "./ls-refs.ts";
import { encodePacket, FLUSH, type Packet, parsePackets, refuseErrorPacket } from "./pkt-line.ts";
import type { CommitId } from "./source.ts";

const SERVICE = "# service=git-upload-pack";
const ZERO = "0".repeat(40);

/** What a server says of itself: it speaks protocol v2, or it lists all its references at once (v0 and v1). */
export type Advertisement =
  | { readonly version: 2; readonly objectFormat: string }
  | { readonly version: 0; readonly objectFormat: string; readonly refs: readonly (readonly [string, CommitId])[] };

/** Returns a parsed advertisement. @throws AgentError SOURCE_PROTOCOL when it is malformed or cut off, SOURCE_UNSUPPORTED for SHA-256 */
export function parseAdvertisement(answer: Buffer): Advertisement {
  const packets = [...parsePackets(answer)];
  const lines: Buffer[] = [];
  // The service line and its flush are left out by some servers when they speak v2.
  if (lineOf(packets[0]) === SERVICE) {
    packets.shift();
    if (packets.shift()?.kind !== "flush") throw malformed("no flush after the service line");
  }
  for (const [index, packet] of packets.entries()) {
    if (packet.kind === "data") lines.push(packet.data);
    else if (packet.kind !== "flush" || index !== packets.length - 1) throw malformed("a mark in its middle");
  }
  if (packets.at(-1)?.kind !== "flush") throw malformed("it is cut off");
  const texts = lines.map((line) => {
    refuseErrorPacket(line);
    return line.toString("utf8").replace(/\n$/, "");
  });
  if (texts[0] === "version 2") return { version: 2, objectFormat: objectFormatOf(texts.slice(1)) };
  if (texts[0] === "version 1") texts.shift();
  return parseRefs(texts);
}

/** Returns the head of a branch out of a list of all references. @throws AgentError SOURCE_NO_BRANCH */
export function headOf(advertisement: Advertisement & { readonly version: 0 }, branch: string): CommitId {
  const heads = advertisement.refs.flatMap(([name, oid]) => (name === `refs/heads/${branch}` ? [oid] : []));
  return onlyHead(heads, branch);
}

/**
 * Returns an advertisement that lists one branch, in the form that protocol-v0 clients read. It is what the poll has
 * already been told, so that a fetch costs one request, asks for exactly the polled commit, and is not flooded by the
 * references of a large repository. The capabilities are those that every smart HTTP server has (gitprotocol-pack).
 */
export function encodeAdvertisement(branch: string, commit: CommitId): Buffer {
  const capabilities = `side-band-64k ofs-delta shallow no-progress symref=HEAD:refs/heads/${branch}`;
  return Buffer.concat([
    encodePacket(`${SERVICE}\n`),
    Buffer.from(FLUSH),
    encodePacket(`${commit} HEAD\0${capabilities}\n`),
    encodePacket(`${commit} refs/heads/${branch}\n`),
    Buffer.from(FLUSH),
  ]);
}

function parseRefs(texts: readonly string[]): Advertisement {
  const refs: (readonly [string, CommitId])[] = [];
  let objectFormat = "sha1";
  for (const [index, text] of texts.entries()) {
    const [line = "", capabilities] = text.split("\0");
    if (index === 0) objectFormat = objectFormatOf((capabilities ?? "").split(" "));
    if (line.startsWith("shallow ")) continue;
    const match = /^([0-9a-f]{40}) ([^\0- \x7f]+)$/.exec(line);
    const [, oid, name] = match ?? [];
    if (oid === undefined || name === undefined) throw malformed(`a malformed line: ${plainText(line, 80)}`);
    if (oid !== ZERO) refs.push([name, oid]);
  }
  return { version: 0, objectFormat, refs };
}

function objectFormatOf(capabilities: readonly string[]): string {
  const format = capabilities.find((capability) => capability.startsWith("object-format="))?.slice(14) ?? "sha1";
  if (format !== "sha1") throw unsupportedObjectFormat();
  return format;
}

function lineOf(packet: Packet | undefined): string | null {
  return packet?.kind === "data" ? packet.data.toString("utf8").replace(/\n$/, "") : null;
}

function malformed(why: string): AgentError {
  return new AgentError("SOURCE_PROTOCOL", `the server's advertisement is malformed: ${why}`);
}
