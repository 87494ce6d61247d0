// One DNS question over UDP or TCP, with every flag in the caller's hands, and no retry.
import { createSocket } from "node:dgram";
import { connect } from "node:net";
import packets from "dns-packet";

/** Types whose names the encoder does not know; it would ask for type 0. */
const typeNames = { SVCB: "UNKNOWN_64", HTTPS: "UNKNOWN_65" };
const rcodes = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

/** Asks and resolves with an outcome: answer, refused (ICMP or RST), timeout or malformed. */
export async function ask(options) {
  const started = performance.now();
  const query = encodeQuery(options);
  const exchange = options.transport === "tcp" ? exchangeTcp : exchangeUdp;
  const reply = await exchange(query, options);
  const ms = performance.now() - started;
  if (!Buffer.isBuffer(reply)) return { ...reply, ms };
  try {
    return { outcome: "answer", ...describe(reply), ms };
  } catch (error) {
    return { outcome: "malformed", error: error.message, ms };
  }
}

function encodeQuery({ name, type, queryClass, recursionDesired, checkingDisabled, dnssecOk, edns, udpPayloadBytes }) {
  const flags = (recursionDesired ? packets.RECURSION_DESIRED : 0) | (checkingDisabled ? packets.CHECKING_DISABLED : 0);
  const extension = {
    type: "OPT",
    name: ".",
    udpPayloadSize: udpPayloadBytes,
    flags: dnssecOk ? packets.DNSSEC_OK : 0,
    options: [],
  };
  return packets.encode({
    type: "query",
    id: Math.floor(Math.random() * 65536),
    flags,
    questions: [{ name, type: typeNames[type] ?? type, class: queryClass }],
    additionals: edns ? [extension] : [],
  });
}

function exchangeUdp(query, { server, port, timeoutMs, source }) {
  return new Promise((resolve) => {
    const socket = createSocket(server.includes(":") ? "udp6" : "udp4");
    const finish = (result) => {
      clearTimeout(timer);
      socket.close();
      resolve(result);
    };
    const timer = setTimeout(() => finish({ outcome: "timeout" }), timeoutMs);
    socket.on("error", (error) => finish({ outcome: "refused", code: error.code }));
    socket.on("message", (message) => {
      if (message.length >= 2 && message.readUInt16BE(0) === query.readUInt16BE(0)) finish(message);
    });
    // A connected socket hears of ICMP errors.
    const send = () => socket.connect(port, server, () => socket.send(query));
    if (source) socket.bind({ address: source }, send);
    else send();
  });
}

function exchangeTcp(query, { server, port, timeoutMs, source }) {
  return new Promise((resolve) => {
    const socket = connect({ host: server, port, ...(source ? { localAddress: source } : {}) });
    const chunks = [];
    const finish = (result) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => finish({ outcome: "timeout" }), timeoutMs);
    socket.on("error", (error) => finish({ outcome: "refused", code: error.code }));
    socket.on("close", () => finish({ outcome: "refused", code: "CLOSED" }));
    socket.on("data", (chunk) => {
      chunks.push(chunk);
      const bytes = Buffer.concat(chunks);
      if (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0))
        finish(bytes.subarray(2, 2 + bytes.readUInt16BE(0)));
    });
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.length);
    socket.write(Buffer.concat([length, query]));
  });
}

function describe(bytes) {
  const packet = packets.decode(bytes);
  const rcode = bytes[3] & 0x0f;
  const extension = packet.additionals.find((record) => record.type === "OPT");
  return {
    rcode: rcodes[rcode] ?? `RCODE${rcode}`,
    authoritative: packet.flag_aa,
    truncated: packet.flag_tc,
    recursionAvailable: packet.flag_ra,
    authenticated: packet.flag_ad,
    answers: packet.answers.map(plainRecord),
    authorities: packet.authorities.map(plainRecord),
    additionals: packet.additionals.filter((record) => record.type !== "OPT").map(plainRecord),
    addresses: packet.answers.filter(({ type }) => type === "A" || type === "AAAA").map(({ data }) => data),
    extendedErrors: (extension?.options ?? []).filter(({ code }) => code === 15).map(extendedError),
    bytes: bytes.length,
  };
}

/** Bytes become hexadecimal and types unknown to the decoder TYPE<n> (RFC 3597), so that the record is plain JSON. */
function plainRecord({ name, type, ttl, data }) {
  return { name, type: type.replace(/^UNKNOWN_/, "TYPE"), ttl, data: plainData(data) };
}

function plainData(data) {
  if (Buffer.isBuffer(data)) return data.toString("hex");
  if (Array.isArray(data)) return data.map((item) => (Buffer.isBuffer(item) ? item.toString("utf8") : item));
  if (data === null || typeof data !== "object") return data ?? null;
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, plainData(value)]));
}

/** RFC 8914. */
function extendedError({ data }) {
  return { code: data.readUInt16BE(0), text: data.subarray(2).toString("utf8") };
}
