import dnsPacket from "dns-packet";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { addressBytes, addressText4, addressText6 } from "../../agent/gate/addresses.ts";
import { encodeName, HEADER_BYTES, readNameText } from "../../agent/gate/wire.ts";
import { additionalSoaOwners, answeredTexts, buildAnswer, parseAnswer } from "../../agent/gate/wire-answer.ts";
import { buildOwnAnswer } from "../../agent/gate/wire-own.ts";
import { buildQuery, parseQuery, type Query } from "../../agent/gate/wire-query.ts";

const label = fc.stringMatching(/^[a-zA-Z0-9_-]{1,20}$/);
const name = fc.array(label, { minLength: 1, maxLength: 6 }).map((labels) => labels.join("."));
const id = fc.integer({ min: 0, max: 0xffff });
const ttl = fc.integer({ min: 0, max: 0x7fffffff });
const ipv4 = fc.ipV4();

const queryOf = (message: Buffer): Query => {
  const parsed = parseQuery(message);
  if (parsed.kind !== "query") throw new Error(`not a query but ${parsed.kind}`);
  return parsed.query;
};

describe("parseQuery against the oracle", () => {
  test("reads what the oracle writes", () => {
    fc.assert(
      fc.property(
        name,
        id,
        fc.boolean(),
        fc.boolean(),
        fc.integer({ min: 1, max: 65_535 }),
        (text, number, rd, dnssecOk, size) => {
          const message = dnsPacket.encode({
            type: "query",
            id: number,
            flags: rd ? dnsPacket.RECURSION_DESIRED : 0,
            questions: [{ type: "AAAA", name: text }],
            additionals: [
              {
                type: "OPT",
                name: ".",
                udpPayloadSize: size,
                flags: dnssecOk ? dnsPacket.DNSSEC_OK : 0,
                options: [],
              } as never,
            ],
          });
          const query = queryOf(message);
          expect(query.id).toBe(number);
          expect(query.name).toBe(text.toLowerCase());
          expect(query.type).toBe(28);
          expect(query.class).toBe(1);
          expect(query.recursionDesired).toBe(rd);
          expect(query.edns).toEqual({ udpBytes: Math.min(Math.max(size, 512), 1232), dnssecOk });
        },
      ),
    );
  });

  test("the query to named is read by the oracle as the same question, with no option", () => {
    fc.assert(
      fc.property(name, id, fc.boolean(), fc.boolean(), (text, number, dnssecOk, checkingDisabled) => {
        const nameBytes = encodeName(text.toLowerCase());
        const decoded = dnsPacket.decode(buildQuery(number, { nameBytes, type: 16, dnssecOk, checkingDisabled }));
        expect(decoded.id).toBe(number);
        expect(decoded.questions).toEqual([{ name: text.toLowerCase(), type: "TXT", class: "IN" }]);
        expect(decoded.flag_rd).toBe(true);
        expect(decoded.flag_cd).toBe(checkingDisabled);
        expect(decoded.additionals).toMatchObject([{ type: "OPT", flag_do: dnssecOk, options: [] }]);
      }),
    );
  });

  test("no bytes at all make it throw, and what it drops or refuses is never forwarded", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        const message = Buffer.from(bytes);
        const parsed = parseQuery(message);
        if (parsed.kind === "error") expect(parsed.answer.readUInt16BE(2) & 0x8000).toBe(0x8000);
        if (message.length < 12) expect(parsed.kind).toBe("drop");
      }),
      { numRuns: 2000 },
    );
  });

  test("a query cut at any byte is no query", () => {
    const message = dnsPacket.encode({
      type: "query",
      id: 1,
      questions: [{ type: "A", name: "a.bc.def" }],
      additionals: [
        {
          type: "OPT",
          name: ".",
          udpPayloadSize: 4096,
          flags: 0,
          options: [{ code: 10, data: Buffer.alloc(8) }],
        } as never,
      ],
    });
    expect(parseQuery(message).kind).toBe("query");
    for (let length = 0; length < message.length; length++) {
      expect(parseQuery(message.subarray(0, length)).kind, `${length} bytes`).not.toBe("query");
    }
    expect(parseQuery(Buffer.concat([message, Buffer.from([0])])).kind).toBe("error");
  });

  test("a query with any byte changed never throws", () => {
    const message = dnsPacket.encode({ type: "query", id: 1, questions: [{ type: "A", name: "a.bc.def" }] });
    fc.assert(
      fc.property(fc.nat(message.length - 1), fc.integer({ min: 0, max: 255 }), (at, byte) => {
        const changed = Buffer.from(message);
        changed[at] = byte;
        parseQuery(changed);
      }),
      { numRuns: 1000 },
    );
  });
});

describe("parseAnswer against the oracle", () => {
  const answerOf = (text: string, addresses: readonly { address: string; ttl: number }[], extra: object = {}): Buffer =>
    dnsPacket.encode({
      type: "response",
      id: 7,
      flags: dnsPacket.RECURSION_DESIRED | dnsPacket.RECURSION_AVAILABLE,
      questions: [{ type: "A", name: text }],
      answers: addresses.map(
        ({ address, ttl: seconds }) => ({ type: "A", name: text, ttl: seconds, data: address }) as const,
      ),
      ...extra,
    });

  test("finds every address, holds times below 300 s, and the client's message says the same", () => {
    fc.assert(
      fc.property(
        name,
        fc.array(fc.record({ address: ipv4, ttl }), { maxLength: 20 }),
        id,
        (text, addresses, number) => {
          const message = answerOf(text, addresses);
          const questionEnd = HEADER_BYTES + encodeName(text).length + 4;
          const answer = parseAnswer(message, questionEnd);
          const wanted = addresses.map(({ address, ttl: seconds }) => ({
            family: 4,
            address,
            ttlS: Math.min(seconds, 300),
          }));
          expect(answer?.addresses).toEqual(wanted);
          if (answer === null) return;
          const query = queryOf(
            dnsPacket.encode({ type: "query", id: number, questions: [{ type: "A", name: text }] }),
          );
          const decoded = dnsPacket.decode(buildAnswer(answer, query, 65_535));
          expect(decoded.id).toBe(number);
          expect(decoded.questions?.[0]?.name).toBe(text);
          expect(decoded.answers?.map((record) => ("data" in record ? record.data : null))).toEqual(
            addresses.map(({ address }) => address),
          );
          const small = buildAnswer(answer, query, 512);
          expect(small.length).toBeLessThanOrEqual(512);
          expect(dnsPacket.decode(small).flag_tc).toBe(answer.bytes.length > 512);
        },
      ),
    );
  });

  test("an answer cut at any byte is null or shorter, and never throws", () => {
    const message = answerOf("a.bc.def", [{ address: "192.0.2.1", ttl: 5 }], {
      authorities: [{ type: "NS", name: "bc.def", ttl: 9, data: "ns.bc.def" }],
      additionals: [{ type: "A", name: "ns.bc.def", ttl: 9, data: "192.0.2.9" }],
    });
    const questionEnd = HEADER_BYTES + encodeName("a.bc.def").length + 4;
    const whole = parseAnswer(Buffer.from(message), questionEnd);
    expect(whole?.addresses.map(({ address }) => address)).toEqual(["192.0.2.1"]);
    for (let length = questionEnd; length < (whole?.bytes.length ?? 0); length++) {
      expect(parseAnswer(Buffer.from(message.subarray(0, length)), questionEnd), `${length} bytes`).toBeNull();
    }
  });

  test("random bytes behind a question never throw, in any reader", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.uint8Array({ minLength: 6, maxLength: 6 }), (rest, counts) => {
        const head = answerOf("a.b", []);
        const message = Buffer.concat([head, Buffer.from(rest)]);
        for (const [index, count] of counts.entries()) message[6 + index] = index % 2 === 0 ? 0 : count % 8;
        parseAnswer(Buffer.from(message), head.length);
        additionalSoaOwners(message, head.length);
        answeredTexts(message, head.length);
        for (let at = 0; at < message.length; at++) readNameText(message, at);
      }),
      { numRuns: 1000 },
    );
  });

  test.each([
    ["an address of three bytes", Buffer.from("c00c00010001000000050003c00002", "hex")],
    ["a pointer to itself", Buffer.from("c01500010001000000050004c0000201", "hex")],
    ["a pointer forwards", Buffer.from("c02000010001000000050004c0000201", "hex")],
    ["another class", Buffer.from("c00c00010003000000050004c0000201", "hex")],
    ["another type than asked", Buffer.from("c00c00410001000000050003000100", "hex")],
  ])("%s is malformed", (_what, record) => {
    const head = answerOf("a.b", []);
    const message = Buffer.concat([head, record]);
    message.writeUInt16BE(1, 6);
    expect(parseAnswer(message, head.length)).toBeNull();
  });

  test("an authority section with an address is dropped as a whole", () => {
    const authorities = [
      { type: "NS", name: "b", ttl: 9, data: "ns.b" },
      { type: "A", name: "ns.b", ttl: 9, data: "10.0.0.1" },
    ];
    const answer = parseAnswer(answerOf("a.b", [{ address: "192.0.2.1", ttl: 5 }], { authorities }), 21);
    expect(answer?.authorityCount).toBe(0);
    expect(answer?.addresses).toHaveLength(1);
  });
});

describe("own answers", () => {
  test("are read by the oracle, fit, and carry the reason only to clients that can read it", () => {
    const text = fc.string({ unit: "grapheme", maxLength: 400 });
    fc.assert(
      fc.property(name, id, fc.boolean(), text, (asked, number, hasEdns, reason) => {
        const additionals = hasEdns
          ? [{ type: "OPT", name: ".", udpPayloadSize: 512, flags: 0, options: [] } as never]
          : [];
        const query = queryOf(
          dnsPacket.encode({ type: "query", id: number, questions: [{ type: "A", name: asked }], additionals }),
        );
        const message = buildOwnAnswer(query, { rcode: 3, soaSerial: 9, ede: { code: 15, text: reason } }, 512);
        expect(message.length).toBeLessThanOrEqual(512);
        const decoded = dnsPacket.decode(message) as ReturnType<typeof dnsPacket.decode> & { rcode: string };
        expect(decoded.rcode).toBe("NXDOMAIN");
        expect(decoded.questions?.[0]?.name).toBe(asked);
        const parent = asked.split(".").slice(1).join(".");
        expect(decoded.authorities).toMatchObject([{ type: "SOA", name: parent === "" ? "." : parent, ttl: 5 }]);
        const [opt] = (decoded.additionals ?? []) as unknown as { options: { code: number; data: Buffer }[] }[];
        expect(opt !== undefined).toBe(hasEdns);
        if (opt === undefined) return;
        expect(opt.options.map(({ code }) => code)).toEqual([15]);
        const said = opt.options[0]?.data.subarray(2).toString("utf8") ?? "";
        expect(reason.startsWith(said)).toBe(true);
      }),
    );
  });
});

describe("addresses", () => {
  test("text and bytes are inverse", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
        const six = Buffer.from(bytes);
        expect(addressBytes(addressText6(six, 0))).toEqual(six);
        expect(addressBytes(addressText4(six, 3))).toEqual(six.subarray(3, 7));
      }),
    );
  });
});
