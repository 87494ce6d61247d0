import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AgentError } from "../../../agent/errors.ts";
import { headOf, parseAdvertisement } from "../../../agent/source/advertisement.ts";
import { encodeLsRefs, parseLsRefs } from "../../../agent/source/ls-refs.ts";
import { createPacketReader, encodePacket, type Packet, parsePackets } from "../../../agent/source/pkt-line.ts";
import { createUploadPackReader } from "../../../agent/source/upload-pack.ts";

const A = "a".repeat(40);
const B = "b".repeat(40);
const frame = (...lines: readonly string[]): Buffer =>
  Buffer.concat(lines.map((line) => (/^000[0-2]$/.test(line) ? Buffer.from(line) : encodePacket(line))));
const failure = (code: string, message = /./): Error =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

describe("packets", () => {
  test("bytes cut anywhere give the same packets", () => {
    const lines = fc.array(fc.oneof(fc.constantFrom("0000", "0001", "0002"), fc.string({ maxLength: 50 })), {
      maxLength: 10,
    });
    fc.assert(
      fc.property(lines, fc.array(fc.nat(60), { minLength: 1, maxLength: 20 }), (texts, steps) => {
        const bytes = frame(...texts);
        const reader = createPacketReader();
        const packets: Packet[] = [];
        let at = 0;
        for (let index = 0; at < bytes.length; index++) {
          const next = at + 1 + (steps[index % steps.length] ?? 0);
          packets.push(...reader.push(Buffer.from(bytes.subarray(at, next))));
          at = next;
        }
        expect(reader.isBetweenPackets()).toBe(true);
        expect(packets).toEqual(parsePackets(bytes));
        expect(packets).toHaveLength(texts.length);
      }),
    );
  });

  test.each(["0003", "fff1", "ffff", "-001", "0x10", " 000", "00 0", "000g"])("the length %s is refused", (digits) => {
    expect(() => parsePackets(Buffer.from(`${digits}${"x".repeat(70_000)}`))).toThrow(
      failure("SOURCE_PROTOCOL", /framing/),
    );
  });
});

describe("ls-refs", () => {
  const answer = frame(`${A} refs/heads/main\n`, `${B} refs/heads/main-evil\n`, "0000");

  test("the request names one branch", () => {
    expect(encodeLsRefs("main").toString()).toBe("0014command=ls-refs\n0001001fref-prefix refs/heads/main\n0000");
  });
  test("the exact name is the head, whatever else begins like it", () => {
    expect(parseLsRefs(answer, "main")).toBe(A);
    expect(parseLsRefs(answer, "main-evil")).toBe(B);
  });
  test("cut off anywhere it is an error, and never 'no such branch'", () => {
    for (let length = 0; length < answer.length; length++) {
      expect(() => parseLsRefs(answer.subarray(0, length), "absent")).toThrow(failure("SOURCE_PROTOCOL"));
    }
    expect(() => parseLsRefs(answer, "absent")).toThrow(failure("SOURCE_NO_BRANCH"));
    expect(() => parseLsRefs(frame("0000"), "main")).toThrow(failure("SOURCE_NO_BRANCH"));
  });
  test.each([
    ["attributes behind the name", frame(`${A} refs/heads/main symref-target:refs/heads/x\n`, "0000")],
    ["no line feed", frame(`${A} refs/heads/main`, "0000")],
  ])("%s are read over", (_, bytes) => {
    expect(parseLsRefs(bytes, "main")).toBe(A);
  });
  test.each<[string, Buffer, string]>([
    ["a SHA-256 id", frame(`${"a".repeat(64)} refs/heads/main\n`, "0000"), "SOURCE_UNSUPPORTED"],
    ["the branch twice", frame(`${A} refs/heads/main\n`, `${B} refs/heads/main\n`, "0000"), "SOURCE_PROTOCOL"],
    ["two lists", frame("0000", "0000"), "SOURCE_PROTOCOL"],
    ["a delimiter", frame(`${A} refs/heads/main\n`, "0001", "0000"), "SOURCE_PROTOCOL"],
    ["a capital id", frame(`${A.toUpperCase()} refs/heads/main\n`, "0000"), "SOURCE_PROTOCOL"],
    ["a NUL in the name", frame(`${A} refs/heads/main\0x\n`, "0000"), "SOURCE_PROTOCOL"],
    ["an unborn branch", frame("unborn refs/heads/main\n", "0000"), "SOURCE_PROTOCOL"],
    ["ERR", frame("ERR no\n", "0000"), "SOURCE_PROTOCOL"],
  ])("%s is refused", (_, bytes, code) => {
    expect(() => parseLsRefs(bytes, "main")).toThrow(failure(code));
  });
  test("any bytes are a head or an AgentError", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.constant("0000"), fc.string()), { maxLength: 5 }), fc.nat(100), (lines, cut) => {
        try {
          parseLsRefs(frame(...lines).subarray(0, cut), "main");
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(AgentError);
        }
      }),
    );
  });
});

describe("advertisements", () => {
  const service = "# service=git-upload-pack\n";
  const caps = "multi_ack side-band-64k";
  const read = (bytes: Buffer, branch = "main"): string => {
    const advertisement = parseAdvertisement(bytes);
    return advertisement.version === 2 ? "v2" : headOf(advertisement, branch);
  };
  test.each<[string, Buffer, string]>([
    ["a list", frame(service, "0000", `${B} HEAD\0${caps}\n`, `${A} refs/heads/main\n`, "0000"), A],
    ["version 1", frame(service, "0000", "version 1\n", `${A} refs/heads/main\0${caps}\n`, "0000"), A],
    ["version 2", frame(service, "0000", "version 2\n", "ls-refs\n", "object-format=sha1\n", "0000"), "v2"],
    ["version 2 without a service line", frame("version 2\n", "fetch=shallow\n", "0000"), "v2"],
  ])("%s", (_, bytes, want) => {
    expect(read(bytes)).toBe(want);
  });
  test.each<[string, Buffer, string]>([
    [
      "an empty repository",
      frame(service, "0000", `${"0".repeat(40)} capabilities^{}\0${caps}\n`, "0000"),
      "SOURCE_NO_BRANCH",
    ],
    ["another branch only", frame(service, "0000", `${A} refs/heads/main2\0${caps}\n`, "0000"), "SOURCE_NO_BRANCH"],
    [
      "SHA-256 in version 2",
      frame(service, "0000", "version 2\n", "object-format=sha256\n", "0000"),
      "SOURCE_UNSUPPORTED",
    ],
    [
      "SHA-256 in version 0",
      frame(service, "0000", `${A} refs/heads/main\0object-format=sha256\n`, "0000"),
      "SOURCE_UNSUPPORTED",
    ],
    ["a list that is cut off", frame(service, "0000", `${A} refs/heads/main\0${caps}\n`), "SOURCE_PROTOCOL"],
    ["nothing", Buffer.alloc(0), "SOURCE_PROTOCOL"],
    ["a service line only", frame(service), "SOURCE_PROTOCOL"],
    ["ERR", frame(service, "0000", "ERR denied", "0000"), "SOURCE_PROTOCOL"],
    ["HTML", Buffer.from("<html>"), "SOURCE_PROTOCOL"],
  ])("%s is refused", (_, bytes, code) => {
    expect(() => read(bytes)).toThrow(failure(code));
  });
});

test("a server says in its advertisement whether it can leave out files", () => {
  const can = (...lines: readonly string[]): boolean => parseAdvertisement(frame(...lines, "0000")).canFilter;
  expect(can("version 2\n", "fetch=shallow wait-for-done filter\n")).toBe(true);
  expect(can("version 2\n", "fetch=shallow filtering\n")).toBe(false);
  expect(can("version 2\n", "server-option\n")).toBe(false);
  expect(can(`${A} refs/heads/main\0side-band-64k filter\n`)).toBe(true);
  expect(can(`${A} refs/heads/main\0side-band-64k\n`)).toBe(false);
});

describe("the answer to a fetch", () => {
  const read = (bytes: Buffer, step: number, maxPackBytes = 1_000_000) => {
    const reader = createUploadPackReader(maxPackBytes);
    for (let at = 0; at < bytes.length; at += step) reader.push(bytes.subarray(at, at + step));
    return reader.finish();
  };
  test("shallow lines and the pack are read in chunks of any size", () => {
    const pack = Buffer.from(Array.from({ length: 150_000 }, (_, index) => index & 255));
    const bands = [0, 65_515, 131_030].map((at) =>
      encodePacket(Buffer.concat([Buffer.of(1), pack.subarray(at, at + 65_515)])),
    );
    const lines = [`shallow ${A}`, `unshallow ${B}`];
    const bytes = Buffer.concat([frame(...lines.map((line) => `${line}\n`), "0000", "NAK\n"), ...bands, frame("0000")]);
    const answer = { shallowLines: lines, isCommon: false, pack };
    for (const step of [1, 7, 65_536, bytes.length]) expect(read(bytes, step)).toEqual(answer);
  });
  test("progress is dropped and single-byte packets are joined", () => {
    const packets = [..."PACK"].flatMap((byte) => [`\u0002progress`, `\u0001${byte}`]);
    expect(read(frame("NAK\n", ...packets, "0000"), 3).pack.toString()).toBe("PACK");
    expect(read(frame(`ACK ${A}\n`, "\u0001x", "0000"), 3).pack.toString()).toBe("x");
    expect(read(frame(`ACK ${A}\n`, `ACK ${A}\n`, "\u0001x", "0000"), 3).pack.toString()).toBe("x");
  });
  test.each<[string, Buffer, string]>([
    ["more than the limit", frame("NAK\n", "\u0001123456", "\u0001789012", "0000"), "SOURCE_TOO_LARGE"],
    ["no flush at the end", frame("NAK\n", "\u0001x"), "SOURCE_PROTOCOL"],
    ["an ACK behind a NAK", frame("NAK\n", `ACK ${A}\n`, "\u0001x", "0000"), "SOURCE_PROTOCOL"],
    ["nothing", Buffer.alloc(0), "SOURCE_PROTOCOL"],
    ["a flush before anything", frame("0000"), "SOURCE_PROTOCOL"],
    ["a pack without NAK or ACK", frame("\u0001x", "0000"), "SOURCE_PROTOCOL"],
    ["a packet after the end", frame("NAK\n", "\u0001x", "0000", "\u0001y"), "SOURCE_PROTOCOL"],
    ["an unknown band", frame("NAK\n", "\u0004x", "0000"), "SOURCE_PROTOCOL"],
    ["an empty packet", frame("NAK\n", "", "0000"), "SOURCE_PROTOCOL"],
    ["a delimiter within the pack", frame("NAK\n", "\u0001x", "0001", "0000"), "SOURCE_PROTOCOL"],
    ["ERR within the pack", frame("NAK\n", "ERR no", "0000"), "SOURCE_PROTOCOL"],
  ])("%s is refused", (_, bytes, code) => {
    expect(() => read(bytes, 5, 10)).toThrow(failure(code));
  });
});
