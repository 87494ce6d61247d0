import { createServer, type Server } from "node:net";
import { afterEach, expect, test } from "vitest";
import { type ControlTable, decodeControl, encodeControl, tellNamed } from "../../../agent/host/named-control.ts";

const secret = Buffer.from("a secret of named");
const table: ControlTable = new Map<string, string | ControlTable>([
  ["_ctrl", new Map([["_nonce", "17"]])],
  ["_data", new Map([["result", "0"]])],
]);
let server: Server;

afterEach(() => {
  server?.close();
});

/** Answers each message by what is given for it; null ends the connection. */
async function serve(answers: readonly (Buffer | null)[], said: string[] = []): Promise<number> {
  server = createServer((socket) => {
    let count = 0;
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      const asked = decodeControl(chunk.subarray(4), secret);
      said.push(JSON.stringify([...asked].map(([key, value]) => [key, [...(value as ControlTable)]])));
      const answer = answers[count++] ?? null;
      if (answer === null) socket.destroy();
      else {
        // In two parts, as networks deliver.
        socket.write(answer.subarray(0, 7));
        setTimeout(() => socket.write(answer.subarray(7)), 10);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as { port: number }).port;
}

const answerOf = (data: readonly (readonly [string, string])[]): Buffer =>
  encodeControl(
    new Map<string, ControlTable>([
      ["_ctrl", new Map([["_nonce", "17"]])],
      ["_data", new Map(data)],
    ]),
    secret,
  );
const tell = (port: number): Promise<void> => tellNamed({ port, secret, timeoutMs: 300 }, "reload a.zone", 1000);

test("a message is read as it was written", () => {
  const bytes = encodeControl(table, secret);
  expect(bytes.readUInt32BE(0)).toBe(bytes.length - 4);
  expect(decodeControl(bytes.subarray(4), secret)).toEqual(table);
});

test("a message that is not signed with the secret, is cut off or was changed is refused", () => {
  const bytes = encodeControl(table, secret).subarray(4);
  expect(() => decodeControl(bytes, Buffer.from("another"))).toThrow("not signed");
  for (let length = 0; length < bytes.length; length++) {
    expect(() => decodeControl(bytes.subarray(0, length), secret)).toThrow(RangeError);
  }
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 0x20;
    try {
      // The names of the signature's own entries and the padding behind it are not signed, and say nothing.
      expect(decodeControl(changed, secret)).toEqual(table);
    } catch (error) {
      expect(error).toBeInstanceOf(RangeError);
    }
  }
});

test("named is told once it has given its number", async () => {
  const said: string[] = [];
  const port = await serve([answerOf([["result", "0"]]), answerOf([["result", "0"]])], said);
  await tell(port);
  expect(said[0]).toContain('["_data",[["type","null"]]]');
  expect(said[1]).toContain('["_nonce","17"]]],["_data",[["type","reload a.zone"]]]');
});

test.each([
  [
    "says that it cannot",
    [
      answerOf([["result", "0"]]),
      answerOf([
        ["result", "23"],
        ["err", "no such zone"],
      ]),
    ],
    "no such zone",
  ],
  ["has another key", [encodeControl(table, Buffer.from("another"))], "not signed"],
  ["ends the connection", [null], "ends the connection"],
  ["ends it later", [answerOf([["result", "0"]]), null], "ends the connection"],
  ["says nothing", [Buffer.alloc(8)], "no answer within 300 ms"],
  ["says too much", [Buffer.from("7fffffff00000000", "hex")], "an answer of 2147483647 bytes"],
] as const)("a named that %s is an error", async (_what, answers, message) => {
  await expect(tell(await serve(answers))).rejects.toMatchObject({
    code: "HOST_SERVICE",
    message: expect.stringContaining(message),
  });
});

test("where nobody listens, there is an error at once", async () => {
  const port = await serve([]);
  await new Promise((resolve) => server.close(resolve));
  await expect(tell(port)).rejects.toMatchObject({ code: "HOST_SERVICE" });
});
