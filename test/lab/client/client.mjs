// Runs in the namespace of a client for a whole test. Reads one JSON object a line, {id, method, params}, and prints
// {id, result} or {id, error}; requests run side by side. Ends when its standard input does. Argument: {server, caFile}.
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { createInterface } from "node:readline";
import { ask } from "./dns.mjs";
import { send } from "./raw.mjs";
import * as sockets from "./sockets.mjs";
import * as streams from "./streams.mjs";
import { upload } from "./upload.mjs";

const { server, caFile } = JSON.parse(process.argv[2]);
const ca = readFileSync(caFile);

const queryDefaults = {
  type: "A",
  queryClass: "IN",
  server,
  port: 53,
  transport: "udp",
  recursionDesired: true,
  checkingDisabled: false,
  dnssecOk: false,
  edns: true,
  udpPayloadBytes: 1232,
  timeoutMs: 3000 * Number(process.env.TEST_PATIENCE ?? 1),
};

const methods = {
  resolve: (params) => ask({ ...queryDefaults, ...params }),
  connect: (params) => toward(params, sockets.connect),
  tls: (params) => toward(params, sockets.tls),
  exchange: (params) => toward(params, sockets.exchange),
  get: (params) => toward(params, sockets.get),
  udp: (params) => toward(params, sockets.udp),
  upload: (params) => toward(params, upload),
  raw: send,
  batch: runBatch,
  "stream.open": (params) => toward(params, streams.open),
  "stream.write": streams.write,
  "stream.state": streams.state,
  "stream.close": streams.close,
};

/** Resolves a name by the client's resolver, over TCP when the answer is cut, and acts on its first address at once. */
async function toward(params, act) {
  const { host, family = 4, resolver = server, ...rest } = params;
  if (isIP(host)) return { ...(await act({ servername: undefined, name: host, ...rest, ca, host })), address: host };
  const query = { ...queryDefaults, server: resolver, name: host, type: family === 4 ? "A" : "AAAA" };
  let answer = await ask(query);
  if (answer.truncated) answer = await ask({ ...query, transport: "tcp" });
  const address = answer.addresses?.[0];
  if (address === undefined) return { outcome: "unresolved", rcode: answer.rcode ?? answer.outcome, ms: answer.ms };
  return {
    ...(await act({ servername: host, name: host, ...rest, ca, host: address })),
    address,
    resolveMs: answer.ms,
  };
}

/** Runs many calls of other methods, some side by side, and resolves with what became of each, in their order. */
async function runBatch({ calls, sideBySide }) {
  const results = [];
  let next = 0;
  const work = async () => {
    while (next < calls.length) {
      const index = next;
      next += 1;
      const { method, ...params } = calls[index];
      results[index] = await methods[method](params);
    }
  };
  await Promise.all(Array.from({ length: sideBySide }, work));
  return results;
}

async function answer(line) {
  const { id, method, params } = JSON.parse(line);
  try {
    return { id, result: await methods[method](params) };
  } catch (error) {
    return { id, error: error.message };
  }
}

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => void answer(line).then((reply) => process.stdout.write(`${JSON.stringify(reply)}\n`)));
lines.on("close", () => process.exit(0));
