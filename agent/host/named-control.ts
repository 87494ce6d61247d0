import { createHmac, randomInt, timingSafeEqual } from "node:crypto";
import { connect } from "node:net";
import { AgentError } from "../errors.ts";

/*
 * The control channel of BIND 9 (lib/isccc), as rndc speaks it: a length and a version of 4 bytes each, then a table. An
 * entry of a table is a key with a length of 1 byte, a type of 1 byte, a length of 4 bytes and the value. The first entry is
 * the HMAC of all that follows it. named answers a first, empty command with a number that the second one must carry.
 */

export interface NamedControl {
  readonly port: number;
  /** The secret of a key with the algorithm hmac-sha256. */
  readonly secret: Buffer;
  readonly timeoutMs: number;
}

/** Keys in order, each with a text or a table. */
export type ControlTable = ReadonlyMap<string, string | ControlTable>;

const VERSION = 1;
const TEXT = 1;
const TABLE = 2;
const HMAC_SHA256 = 163;
/** The base64 of the longest digest that may stand there. */
const SIGNATURE_BYTES = 88;
const MAX_ANSWER_BYTES = 64 * 1024;
const LIFETIME_S = 60;
const MAX_SERIAL = 2 ** 32 - 1;

/**
 * Tells named on this machine to do something, such as `reload ZONE`, and resolves when it says that it does.
 * @throws AgentError HOST_SERVICE when it is not reached, does not answer in time, or says that it does not
 */
export async function tellNamed(control: NamedControl, command: string, nowS: number): Promise<void> {
  const exchange = openExchange(control);
  try {
    const nonce = textAt(await exchange.ask(orderOf("null", nowS, null)), "_ctrl", "_nonce");
    const answer = await exchange.ask(orderOf(command, nowS, nonce));
    const result = textAt(answer, "_data", "result");
    if (result === "0") return;
    throw refused(textAt(answer, "_data", "err") ?? `${command} failed (${result})`);
  } finally {
    exchange.close();
  }
}

function orderOf(command: string, nowS: number, nonce: string | null): ControlTable {
  const numbers: (readonly [string, string])[] = [
    // named takes no message twice, and tells them apart by this.
    ["_ser", String(randomInt(MAX_SERIAL))],
    ["_tim", String(nowS)],
    ["_exp", String(nowS + LIFETIME_S)],
  ];
  return new Map([
    ["_ctrl", new Map(nonce === null ? numbers : [...numbers, ["_nonce", nonce]])],
    ["_data", new Map([["type", command]])],
  ]);
}

interface Exchange {
  ask(table: ControlTable): Promise<ControlTable>;
  close(): void;
}

function openExchange({ port, secret, timeoutMs }: NamedControl): Exchange {
  const socket = connect({ host: "127.0.0.1", port });
  socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)));
  let received = Buffer.of();
  let waiting: { resolve: (table: ControlTable) => void; reject: (error: AgentError) => void } | null = null;
  let failure: AgentError | null = null;
  const fail = (reason: string): void => {
    failure ??= refused(reason);
    waiting?.reject(failure);
    socket.destroy();
  };
  socket.on("error", (error) => fail(error.message));
  socket.on("close", () => fail("it ends the connection"));
  socket.on("data", (chunk) => {
    received = Buffer.concat([received, chunk]);
    const length = received.length < 4 ? 0 : received.readUInt32BE(0);
    if (length > MAX_ANSWER_BYTES) fail(`an answer of ${length} bytes`);
    else if (length > 0 && received.length >= 4 + length) {
      try {
        waiting?.resolve(decodeControl(received.subarray(4, 4 + length), secret));
      } catch (error) {
        fail((error as Error).message);
      }
      received = received.subarray(4 + length);
    }
  });
  return {
    ask: async (table) =>
      await new Promise<ControlTable>((resolve, reject) => {
        if (failure !== null) reject(failure);
        waiting = { resolve, reject };
        socket.write(encodeControl(table, secret));
      }),
    close: () => socket.destroy(),
  };
}

function refused(reason: string): AgentError {
  return new AgentError("HOST_SERVICE", `named's control channel: ${reason.slice(0, 200)}`);
}

function textAt(table: ControlTable, ...keys: readonly string[]): string | null {
  const found = keys.reduce<string | ControlTable | undefined>(
    (inner, key) => (inner instanceof Map ? inner.get(key) : undefined),
    table,
  );
  return typeof found === "string" ? found : null;
}

/** Returns a message with its length and signature. */
export function encodeControl(table: ControlTable, secret: Buffer): Buffer {
  const body = encodeTable(table);
  const signature = Buffer.alloc(1 + SIGNATURE_BYTES);
  signature[0] = HMAC_SHA256;
  signature.write(sign(body, secret), 1, "latin1");
  const auth = encodeEntry("_auth", TABLE, encodeEntry("hsha", TEXT, signature));
  const head = Buffer.alloc(8);
  head.writeUInt32BE(4 + auth.length + body.length, 0);
  head.writeUInt32BE(VERSION, 4);
  return Buffer.concat([head, auth, body]);
}

function sign(body: Buffer, secret: Buffer): string {
  return createHmac("sha256", secret).update(body).digest("base64");
}

function encodeTable(table: ControlTable): Buffer {
  return Buffer.concat(
    [...table].map(([key, value]) =>
      typeof value === "string"
        ? encodeEntry(key, TEXT, Buffer.from(value))
        : encodeEntry(key, TABLE, encodeTable(value)),
    ),
  );
}

function encodeEntry(key: string, type: number, value: Buffer): Buffer {
  const head = Buffer.alloc(1 + key.length + 5);
  head[0] = key.length;
  head.write(key, 1, "latin1");
  head[1 + key.length] = type;
  head.writeUInt32BE(value.length, 2 + key.length);
  return Buffer.concat([head, value]);
}

/** Returns what a message without its length says. @throws RangeError when it is damaged or not signed with the secret */
export function decodeControl(message: Buffer, secret: Buffer): ControlTable {
  if (message.length < 4 || message.readUInt32BE(0) !== VERSION) throw new RangeError("another version");
  const [auth, rest] = decodeEntry(message.subarray(4));
  const [signature] = auth.key === "_auth" && auth.type === TABLE ? decodeEntry(auth.value) : [];
  const given = signature?.value.subarray(1).toString("latin1").replace(/\0+$/, "") ?? "";
  const expected = sign(rest, secret);
  const isSigned = given.length === expected.length && timingSafeEqual(Buffer.from(given), Buffer.from(expected));
  if (!isSigned) throw new RangeError("an answer that is not signed with its key");
  return decodeTable(rest);
}

function decodeTable(bytes: Buffer): ControlTable {
  const table = new Map<string, string | ControlTable>();
  for (let rest = bytes; rest.length > 0; ) {
    const [{ key, type, value }, next] = decodeEntry(rest);
    if (type === TABLE) table.set(key, decodeTable(value));
    else if (type === TEXT) table.set(key, value.toString("utf8"));
    rest = next;
  }
  return table;
}

function decodeEntry(bytes: Buffer): readonly [entry: { key: string; type: number; value: Buffer }, rest: Buffer] {
  const start = 1 + (bytes[0] ?? 0);
  const length = bytes.length < start + 5 ? -1 : bytes.readUInt32BE(start + 1);
  const end = start + 5 + length;
  if (length < 0 || end > bytes.length) throw new RangeError("an answer that ends too early");
  const entry = {
    key: bytes.toString("latin1", 1, start),
    type: bytes[start] ?? 0,
    value: bytes.subarray(start + 5, end),
  };
  return [entry, bytes.subarray(end)];
}
