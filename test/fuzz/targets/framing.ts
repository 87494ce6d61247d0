import { parseAdvertisement } from "../../../agent/source/advertisement.ts";
import { parseLsRefs } from "../../../agent/source/ls-refs.ts";
import { encodePacket } from "../../../agent/source/pkt-line.ts";
import { createUploadPackReader } from "../../../agent/source/upload-pack.ts";
import type { FuzzTarget } from "../target.ts";

const oid = "1".repeat(40);
const frame = (...parts: readonly string[]): Buffer =>
  Buffer.concat(parts.map((part) => (part === "0000" ? Buffer.from(part) : encodePacket(part))));

/** What comes before a pack and around it: the answer to a fetch, whole and in pieces alike. */
export const fetchAnswer: FuzzTarget = {
  name: "fetch answer",
  seedCorpus: () => [
    frame(`shallow ${oid}\n`, "0000", "NAK\n", "\u0001PACK", "\u0002progress", "\u0001rest", "0000"),
    frame(`ACK ${oid}\n`, `ACK ${oid}\n`, "\u0001x", "0000"),
    frame("NAK\n", "\u0003out of disk", "0000"),
  ],
  run: (bytes) => {
    const read = (step: number): string => {
      const reader = createUploadPackReader(10_000);
      for (let at = 0; at < bytes.length; at += step) reader.push(bytes.subarray(at, at + step));
      const { pack, shallowLines } = reader.finish();
      return `${pack.toString("latin1")} ${shallowLines.join()}`;
    };
    const whole = read(Math.max(1, bytes.length));
    if (read(1) !== whole) throw new Error("the pieces give another answer");
    return "read";
  },
};

/** Lists of branches, in both protocols. */
export const refs: FuzzTarget = {
  name: "refs",
  seedCorpus: () => [
    frame(`${oid} refs/heads/main\n`, "0000"),
    frame(
      "# service=git-upload-pack\n",
      "0000",
      `${oid} HEAD\0side-band-64k filter\n`,
      `${oid} refs/heads/main\n`,
      "0000",
    ),
    frame("version 2\n", "fetch=shallow filter\n", "object-format=sha1\n", "0000"),
  ],
  run: (bytes) => {
    const outcomes = [() => parseLsRefs(bytes, "main"), () => parseAdvertisement(bytes).canFilter];
    // The second must have its turn though the first refuses.
    const [first, second] = outcomes;
    try {
      first?.();
    } finally {
      second?.();
    }
    return "read";
  },
};
