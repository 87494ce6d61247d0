// Sends whole IP packets, headers included, as a program with root's rights on a client could. Node has no raw sockets,
// so the C library is called.
import { isIPv6 } from "node:net";
import koffi from "koffi";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_RAW = 3;
const IPPROTO_RAW = 255;

const libc = koffi.load("libc.so.6");
const socket = libc.func("int socket(int, int, int)");
const sendto = libc.func("intptr_t sendto(int, const void *, size_t, int, const void *, uint32_t)");
const close = libc.func("int close(int)");

/** Sends packets of `{ to, bytes (base64) }` in their order. IPPROTO_RAW takes the header as it is, but for sums of IPv4. */
export function send({ packets }) {
  const sockets = new Map();
  const open = (domain) => {
    const fd = sockets.get(domain) ?? socket(domain, SOCK_RAW, IPPROTO_RAW);
    if (fd < 0) throw new Error(`no raw socket: errno ${koffi.errno()}`);
    sockets.set(domain, fd);
    return fd;
  };
  try {
    for (const { to, bytes } of packets) {
      const packet = Buffer.from(bytes, "base64");
      const [domain, address] = isIPv6(to) ? [AF_INET6, socketAddress6(to)] : [AF_INET, socketAddress4(to)];
      const sent = sendto(open(domain), packet, packet.length, 0, address, address.length);
      if (Number(sent) !== packet.length) throw new Error(`packet to ${to}: errno ${koffi.errno()}`);
    }
  } finally {
    for (const fd of sockets.values()) close(fd);
  }
  return null;
}

function socketAddress4(address) {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(AF_INET, 0);
  for (const [index, part] of address.split(".").entries()) bytes[4 + index] = Number(part);
  return bytes;
}

function socketAddress6(address) {
  const bytes = Buffer.alloc(28);
  bytes.writeUInt16LE(AF_INET6, 0);
  const [head = "", tail] = address.split("::");
  const parts = (text) => (text ? text.split(":").map((part) => Number.parseInt(part, 16)) : []);
  const [first, last] = [parts(head), parts(tail)];
  const words = [...first, ...Array(8 - first.length - last.length).fill(0), ...last];
  for (const [index, word] of words.entries()) bytes.writeUInt16BE(word, 8 + 2 * index);
  return bytes;
}
