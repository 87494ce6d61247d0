/** What a hand-made ClientHello says. */
export interface HelloParts {
  /** Entries of the server name list, as they stand; none: no such extension. */
  readonly names?: readonly (string | Buffer)[];
  /** The whole server name extension that many times. */
  readonly times?: number;
  /** Other extensions, in front of the server name. */
  readonly extensions?: readonly (readonly [type: number, body: Buffer])[];
  /** Splits the message into TLS records of these lengths, the rest into a last one. */
  readonly records?: readonly number[];
}

/** A payload of real ECH and one of GREASE look alike by design (draft-ietf-tls-esni §6.2): an outer hello, HPKE ids, a key, a payload. */
export const ECH_EXTENSION: readonly [type: number, body: Buffer] = [
  0xfe0d,
  Buffer.concat([Buffer.from("00000100010e0020", "hex"), Buffer.alloc(32, 7), uint16(144), Buffer.alloc(144, 9)]),
];

/**
 * Returns the bytes of a TLS 1.2 ClientHello that a real server answers, and behind it an alert that ends the handshake,
 * so that both sides of an exchange come to an end.
 */
export function clientHello({ names = [], times = 1, extensions = [], records = [] }: HelloParts): Buffer {
  const list = Buffer.concat(names.map((name) => Buffer.concat([Buffer.from([0]), sized(Buffer.from(name))])));
  const all: readonly (readonly [number, Buffer])[] = [
    ...extensions,
    ...(names.length === 0 ? [] : Array.from({ length: times }, () => [0, sized(list)] as const)),
    [0x000a, sized(Buffer.from("001d0017", "hex"))],
    [0x000b, Buffer.from("0100", "hex")],
    [0x000d, sized(Buffer.from("040305030804040108050501", "hex"))],
  ];
  const body = Buffer.concat([
    Buffer.from("0303", "hex"),
    Buffer.alloc(32, 5),
    Buffer.from([0]),
    sized(Buffer.from("c02bc02fc02cc030", "hex")),
    Buffer.from("0100", "hex"),
    sized(Buffer.concat(all.map(([type, bytes]) => Buffer.concat([uint16(type), sized(bytes)])))),
  ]);
  const message = Buffer.concat([Buffer.from([1, 0]), uint16(body.length), body]);
  const pieces: Buffer[] = [];
  let at = 0;
  for (const length of [...records, message.length]) {
    if (at < message.length) pieces.push(message.subarray(at, at + length));
    at += length;
  }
  const alert = Buffer.from("15030300020228", "hex");
  return Buffer.concat([...pieces.map((piece) => Buffer.concat([Buffer.from("160301", "hex"), sized(piece)])), alert]);
}

function sized(bytes: Buffer): Buffer {
  return Buffer.concat([uint16(bytes.length), bytes]);
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
