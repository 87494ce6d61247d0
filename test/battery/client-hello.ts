/** A TLS ClientHello, byte by byte, so that it can carry what no TLS library would send. */

export interface HelloParts {
  /** Entries of the server_name extension: their type (0 is a host name) and bytes. No entries: an empty list. Missing: no extension. */
  readonly serverNames?: readonly { readonly type?: number; readonly name: Buffer | string }[];
  /** Further extensions by their number. */
  readonly extensions?: readonly { readonly type: number; readonly data: Buffer }[];
}

/** RFC 9849; a grease value has the same number. */
export const ECH_EXTENSION = 0xfe0d;

/** Returns the extension's body with a made-up key and an encrypted hello of so many bytes: nobody can tell it from a real one. */
export function encryptedHello(bytes: number): Buffer {
  const head = Buffer.from("0000010001080020", "hex");
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes);
  return Buffer.concat([head, Buffer.alloc(32, 9), length, Buffer.alloc(bytes, 7)]);
}

/** Returns one TLS record that holds a ClientHello of TLS 1.2, which the lab's servers answer. */
export function clientHello({ serverNames, extensions = [] }: HelloParts): Buffer {
  const own = [
    ...(serverNames === undefined ? [] : [{ type: 0, data: serverNameList(serverNames) }]),
    // supported_groups, ec_point_formats, signature_algorithms
    { type: 10, data: Buffer.from("0004001d0017", "hex") },
    { type: 11, data: Buffer.from("0100", "hex") },
    { type: 13, data: Buffer.from("000a04030804040105030603", "hex") },
    ...extensions,
  ];
  const block = Buffer.concat(own.map(({ type, data }) => Buffer.concat([uint16(type), uint16(data.length), data])));
  const body = Buffer.concat([
    Buffer.from("0303", "hex"),
    Buffer.alloc(32, 5),
    Buffer.from("00", "hex"),
    Buffer.from("0006c02bc02fc030", "hex"),
    Buffer.from("0100", "hex"),
    uint16(block.length),
    block,
  ]);
  const handshake = Buffer.concat([Buffer.from([1, 0]), uint16(body.length), body]);
  return Buffer.concat([Buffer.from("160301", "hex"), uint16(handshake.length), handshake]);
}

function serverNameList(entries: NonNullable<HelloParts["serverNames"]>): Buffer {
  const list = Buffer.concat(
    entries.map(({ type = 0, name }) => {
      const bytes = Buffer.from(name as string);
      return Buffer.concat([Buffer.from([type]), uint16(bytes.length), bytes]);
    }),
  );
  return Buffer.concat([uint16(list.length), list]);
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
