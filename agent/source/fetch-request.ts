import { encodePacket, FLUSH } from "./pkt-line.ts";
import type { CommitId } from "./source.ts";

export interface FetchRequest {
  readonly want: CommitId;
  /** Commits that are there already, with everything behind them down to the shallow ones. */
  readonly haves: readonly CommitId[];
  /** Commits that are there without their parents. */
  readonly shallow: readonly CommitId[];
  /** 1 asks for the commit alone, with its files; null for all that is missing. */
  readonly depth: 1 | null;
  /** True asks for commits without their files; only where the server said that it can. */
  readonly onlyCommits: boolean;
}

/**
 * Returns the body of a `git-upload-pack` request (gitprotocol-pack, "Packfile Negotiation"). No discovery comes before it: the
 * capabilities are those that every smart HTTP server has. Without `thin-pack` a pack is whole; without `multi_ack` the answer
 * is one ACK or NAK and the pack.
 */
export function encodeFetchRequest({ want, haves, shallow, depth, onlyCommits }: FetchRequest): Buffer {
  const capabilities = `side-band-64k ofs-delta shallow no-progress${onlyCommits ? " filter" : ""}`;
  return Buffer.concat([
    encodePacket(`want ${want} ${capabilities}\n`),
    ...shallow.map((oid) => encodePacket(`shallow ${oid}\n`)),
    ...(depth === null ? [] : [encodePacket(`deepen ${depth}\n`)]),
    ...(onlyCommits ? [encodePacket("filter tree:0\n")] : []),
    Buffer.from(FLUSH),
    ...haves.map((oid) => encodePacket(`have ${oid}\n`)),
    encodePacket("done\n"),
  ]);
}
