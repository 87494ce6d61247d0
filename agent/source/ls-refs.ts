import { AgentError } from "../errors.ts";
import { plainText } from "../plain-text.ts";
import { DELIMITER, encodePacket, FLUSH, parsePackets, refuseErrorPacket } from "./pkt-line.ts";
import type { CommitId } from "./source.ts";

const REF_LINE = /^([0-9a-f]{40}|[0-9a-f]{64}) (refs\/[^\0- \x7f]+)(?: [^\0\n]*)?\n?$/;

/** Returns the body of a protocol-v2 `ls-refs` request for one branch (gitprotocol-v2, "ls-refs"). */
export function encodeLsRefs(branch: string): Buffer {
  return Buffer.concat([
    encodePacket("command=ls-refs\n"),
    Buffer.from(DELIMITER),
    encodePacket(`ref-prefix refs/heads/${branch}\n`),
    Buffer.from(FLUSH),
  ]);
}

/**
 * Returns the head of a branch out of an `ls-refs` answer. Only a complete answer says anything: the flush packet must be
 * its last byte. The prefix in the request also matches longer names, so the name is compared exactly.
 * @throws AgentError SOURCE_NO_BRANCH when a complete answer does not name the branch, SOURCE_UNSUPPORTED for SHA-256
 * object names, SOURCE_PROTOCOL for everything malformed or cut off.
 */
export function parseLsRefs(answer: Buffer, branch: string): CommitId {
  const packets = parsePackets(answer);
  const wanted = `refs/heads/${branch}`;
  const heads: string[] = [];
  for (const [index, packet] of packets.entries()) {
    const isLast = index === packets.length - 1;
    if (packet.kind !== "data") {
      if (packet.kind === "flush" && isLast) return onlyHead(heads, branch);
      throw new AgentError("SOURCE_PROTOCOL", `the list of branches has a ${packet.kind} packet in its middle`);
    }
    refuseErrorPacket(packet.data);
    const match = REF_LINE.exec(packet.data.toString("utf8"));
    const [, oid, name] = match ?? [];
    if (oid === undefined || name === undefined) {
      throw new AgentError(
        "SOURCE_PROTOCOL",
        `the list of branches has a malformed line: ${plainText(packet.data.toString("utf8"), 80)}`,
      );
    }
    if (oid.length === 64) throw unsupportedObjectFormat();
    if (name === wanted) heads.push(oid);
  }
  throw new AgentError("SOURCE_PROTOCOL", "the list of branches is cut off: it has no flush packet at its end");
}

/** Returns the error for a repository with SHA-256 object names. */
export function unsupportedObjectFormat(): AgentError {
  return new AgentError("SOURCE_UNSUPPORTED", "the repository uses SHA-256 object names", {
    remedy:
      "keep the policy in a repository with SHA-1 object names (what is approved is bound by SHA-256 in the lock)",
  });
}

/** Returns the one head of a branch. @throws AgentError SOURCE_NO_BRANCH for none, SOURCE_PROTOCOL for several */
export function onlyHead(heads: readonly string[], branch: string): CommitId {
  const [head] = heads;
  if (head === undefined) {
    throw new AgentError("SOURCE_NO_BRANCH", `the repository has no branch ${plainText(branch, 80)}`, {
      remedy: "check repository.branch; the enforced policy stays",
    });
  }
  if (heads.length > 1) throw new AgentError("SOURCE_PROTOCOL", "the list of branches names the branch twice");
  return head;
}
