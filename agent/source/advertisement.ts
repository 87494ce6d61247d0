import { AgentError } from "../errors.ts";
import { plainText } from "../plain-text.ts";
import { onlyHead, unsupportedObjectFormat } from "./ls-refs.ts";
import { type Packet, parsePackets, refuseErrorPacket } from "./pkt-line.ts";
import type { CommitId } from "./source.ts";

const SERVICE = "# service=git-upload-pack";
const ZERO = "0".repeat(40);

/**
 * What a server says of itself: it speaks protocol v2, or it lists all its references at once (v0 and v1); and whether it can
 * leave out files (`filter`).
 */
export type Advertisement =
  | { readonly version: 2; readonly objectFormat: string; readonly canFilter: boolean }
  | {
      readonly version: 0;
      readonly objectFormat: string;
      readonly canFilter: boolean;
      readonly refs: readonly (readonly [string, CommitId])[];
    };

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
  if (texts[0] === "version 2") {
    const fetch = texts.find((text) => text.startsWith("fetch=")) ?? "";
    const canFilter = fetch.slice(6).split(" ").includes("filter");
    return { version: 2, objectFormat: objectFormatOf(texts.slice(1)), canFilter };
  }
  if (texts[0] === "version 1") texts.shift();
  return parseRefs(texts);
}

/** Returns the head of a branch out of a list of all references. @throws AgentError SOURCE_NO_BRANCH */
export function headOf(advertisement: Advertisement & { readonly version: 0 }, branch: string): CommitId {
  const heads = advertisement.refs.flatMap(([name, oid]) => (name === `refs/heads/${branch}` ? [oid] : []));
  return onlyHead(heads, branch);
}

function parseRefs(texts: readonly string[]): Advertisement {
  const refs: (readonly [string, CommitId])[] = [];
  let objectFormat = "sha1";
  let canFilter = false;
  for (const [index, text] of texts.entries()) {
    const [line = "", capabilities] = text.split("\0");
    if (index === 0) {
      const words = (capabilities ?? "").split(" ");
      objectFormat = objectFormatOf(words);
      canFilter = words.includes("filter");
    }
    if (line.startsWith("shallow ")) continue;
    const match = /^([0-9a-f]{40}) ([^\0- \x7f]+)$/.exec(line);
    const [, oid, name] = match ?? [];
    if (oid === undefined || name === undefined) throw malformed(`a malformed line: ${plainText(line, 80)}`);
    if (oid !== ZERO) refs.push([name, oid]);
  }
  return { version: 0, objectFormat, canFilter, refs };
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
