import fc from "fast-check";
import { expect, test } from "vitest";
import { commonDetails, type Denial, type DenyRecord } from "../../agent/gate/deny-record.ts";
import { createDenyRecords } from "../../agent/gate/deny-records.ts";
import { parsePacketLine } from "../../agent/gate/packet-line.ts";
import type { Plane } from "../../agent/policy/reasons.ts";

type Step =
  | { readonly kind: "note"; readonly client: string; readonly reason: Denial["reason"]; readonly times: number }
  | { readonly kind: "untold"; readonly client: string; readonly count: number }
  | { readonly kind: "pass"; readonly seconds: number }
  | { readonly kind: "flush" };

const client = fc.constantFrom("a", "b", "c");
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant("note" as const),
    client,
    reason: fc.constantFrom("ip-not-allowed" as const, "deny-all" as const),
    times: fc.integer({ min: 1, max: 200 }),
  }),
  fc.record({ kind: fc.constant("untold" as const), client, count: fc.integer({ min: 1, max: 100_000 }) }),
  fc.record({ kind: fc.constant("pass" as const), seconds: fc.double({ min: 0, max: 30, noNaN: true }) }),
  fc.constant({ kind: "flush" as const }),
);

test("whatever happens, the lines of a client and reason add up to its denials", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const lines: DenyRecord[] = [];
      const plane: Plane = "ip";
      let nowS = 0;
      let denials = 0;
      const records = createDenyRecords({
        gateway: "g",
        planes: ["ip"],
        log: { append: (line) => lines.push(JSON.parse(line) as DenyRecord) },
        nowMs: () => nowS * 1000,
        monotonicS: () => nowS,
        onError: (error) => {
          throw error;
        },
      });
      for (const one of steps) {
        if (one.kind === "pass") nowS += one.seconds;
        else if (one.kind === "flush") records.flush();
        else if (one.kind === "untold") {
          denials += one.count;
          records.noteUntold(plane, one.client, one.count);
        } else {
          denials += one.times;
          const describe = () => commonDetails("rst", null, null, null);
          for (let time = 0; time < one.times; time++) {
            records.note({ plane, reason: one.reason, client: one.client, target: "", describe });
          }
        }
      }
      nowS += 60;
      records.flush();
      const { denied, unattributed, written } = records.totals();
      const sum = lines.reduce((all, { suppressed }) => all + 1 + suppressed, 0);
      expect(sum + unattributed).toBe(denials);
      expect(written).toBe(lines.length);
      expect(Object.values(denied.ip ?? {}).reduce((all, count) => all + count, 0) + unattributed).toBe(denials);
      for (const [index, line] of lines.entries()) {
        const before = lines
          .slice(0, index)
          .findLast((one) => one.client === line.client && one.reason === line.reason);
        expect(line.count - (before?.count ?? 0)).toBe(1 + line.suppressed);
      }
    }),
    { numRuns: 300 },
  );
});

test("no text makes reading a line fail, and what is read is bounded", () => {
  const field = fc.oneof(fc.string(), fc.integer(), fc.double(), fc.constant(null), fc.ipV4(), fc.ipV6());
  const fields = fc.dictionary(
    fc.constantFrom("oob.prefix", "src_ip", "dest_ip", "src_port", "dest_port", "ip.protocol", "oob.in", "__proto__"),
    field,
  );
  const packet = fc.record({ "oob.prefix": fc.constant("clawgress:input "), src_ip: fc.ipV6(), dest_ip: fc.ipV4() });
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json(), fields, fc.tuple(packet, fields)), (input) => {
      const text =
        typeof input === "string" ? input : JSON.stringify(Array.isArray(input) ? Object.assign({}, ...input) : input);
      const read = parsePacketLine(text);
      if (read === null) return;
      for (const address of [read.source, read.destination]) expect(address).toMatch(/^[0-9a-f:.]{2,45}$/);
      for (const name of [read.inInterface, read.outInterface]) expect((name ?? "").length).toBeLessThanOrEqual(15);
    }),
    { numRuns: 500 },
  );
});
