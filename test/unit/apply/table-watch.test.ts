import { expect, test } from "vitest";
import { encodeGetTable, readAnswer } from "../../../agent/apply/table-watch.ts";

const ENOENT = 2;

function message(type: number, sequence: number, body: Buffer): Buffer {
  const head = Buffer.alloc(16);
  head.writeUInt32LE(16 + body.length, 0);
  head.writeUInt16LE(type, 4);
  head.writeUInt32LE(sequence, 8);
  return Buffer.concat([head, body]);
}

/** As the kernel (6.1) answers for a table `x`: name, flags, use, handle. */
const table = Buffer.from(
  "01000000060001007800000008000200000000000800030000000005" + "0c0004000000000000000007",
  "hex",
);
const NEW_TABLE = 0x0a00;

test("a question is one message whose length says what it is, the name ended by a zero", () => {
  const bytes = encodeGetTable("clawgress", 7);
  expect(bytes.readUInt32LE(0)).toBe(bytes.length);
  expect(bytes.length % 4).toBe(0);
  expect(bytes.readUInt16LE(4)).toBe(0x0a01);
  expect(bytes.readUInt32LE(8)).toBe(7);
  expect(bytes.subarray(24, 24 + 10).toString("latin1")).toBe("clawgress\0");
});

test("an answer is the handle of the table, or the kernel's error", () => {
  expect(readAnswer(message(NEW_TABLE, 7, table), 7)).toEqual({ handle: 7 });
  const error = Buffer.alloc(20);
  error.writeInt32LE(-ENOENT, 0);
  expect(readAnswer(message(2, 7, error), 7)).toEqual({ errno: ENOENT });
});

test("what answers another question, or says nothing, is passed over; a cut answer is read no further than its end", () => {
  expect(readAnswer(message(NEW_TABLE, 6, table), 7)).toBe("another");
  expect(readAnswer(message(0x0a09, 7, table), 7)).toBe("another");
  expect(readAnswer(Buffer.alloc(3), 7)).toBe("another");
  const whole = message(NEW_TABLE, 7, table);
  for (let length = 0; length < whole.length; length++) {
    expect(readAnswer(whole.subarray(0, length), 7)).toBe("another");
  }
});
