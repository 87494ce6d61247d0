import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { AgentError, toAgentError } from "../errors.ts";
import { findSocket } from "../host/find-socket.ts";
import { listenPrivately } from "../host/listen-privately.ts";
import { type CallBody, readCallBody } from "../host/read-call-body.ts";
import type { ClientGrant, GateControl } from "./control-client.ts";
import type { Listener } from "./listen-udp.ts";

/** Ten thousand pairs of a client and a grant. */
const MAX_BODY_BYTES = 1024 * 1024;
const MAX_HOLD_MS = 30_000;

/**
 * Serves the gate's control calls on a Unix socket that only its own user and root may use; returns when it listens.
 * A socket that an earlier gate left behind is replaced, one that answers is not.
 * @throws AgentError STATE_LOCKED when another gate answers on it, HOST_FILE when it cannot be made.
 */
export async function serveControl(socketPath: string, control: GateControl): Promise<Listener> {
  if (await findSocket(socketPath)) {
    throw new AgentError("STATE_LOCKED", `another gate serves ${socketPath}`, { remedy: "stop it first" });
  }
  const server = createServer({ maxHeaderSize: 8192, requestTimeout: 10_000 }, (request, response) => {
    void answerCall(control, request, response);
  });
  server.on("clientError", (_error, socket) => socket.destroy());
  await listenPrivately(server, socketPath);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      }),
  };
}

async function answerCall(control: GateControl, request: IncomingMessage, response: ServerResponse): Promise<void> {
  let status = 200;
  let answer: unknown;
  try {
    answer = await dispatch(control, `${request.method} ${request.url}`, await readCallBody(request, MAX_BODY_BYTES));
  } catch (error) {
    const known = toAgentError(error, "GATE_REFUSED", "the call failed");
    status = known.code === "USAGE" ? 400 : 409;
    answer = { error: known.message, code: known.code };
  }
  const text = JSON.stringify(answer);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}

async function dispatch(control: GateControl, call: string, body: CallBody): Promise<unknown> {
  switch (call) {
    case "GET /status":
      return await control.status();
    case "GET /caps":
      return { caps: await control.caps() };
    case "GET /caps/spent":
      return { caps: await control.spentCaps() };
    case "POST /prepare":
      return { digest: await control.prepare(textOf(body, "folder")) };
    case "POST /hold": {
      const maxMs = body["maxMs"];
      if (!Number.isInteger(maxMs) || (maxMs as number) < 1 || (maxMs as number) > MAX_HOLD_MS) {
        throw new AgentError("USAGE", `maxMs must be a whole number from 1 to ${MAX_HOLD_MS}`);
      }
      await control.hold(maxMs as number);
      return {};
    }
    case "POST /anticipate":
      await control.anticipate(textOf(body, "digest"));
      return {};
    case "POST /activate":
      await control.activate(textOf(body, "digest"));
      return {};
    case "POST /resume":
      await control.resume();
      return {};
    case "POST /withdraw":
      await control.withdraw();
      return {};
    case "POST /tally": {
      const ack = body["ack"];
      return await control.tally(typeof ack === "string" ? ack : null);
    }
    case "POST /grants":
      return { grants: await control.describeGrants(pairsOf(body["pairs"])) };
    case "POST /shutdown":
      await control.shutdown();
      return {};
    default:
      throw new AgentError("USAGE", `there is no call ${call.slice(0, 100)}`);
  }
}

function pairsOf(value: unknown): readonly ClientGrant[] {
  const isPair = (pair: unknown): pair is ClientGrant =>
    Array.isArray(pair) && typeof pair[0] === "string" && Number.isInteger(pair[1]);
  if (Array.isArray(value) && value.every(isPair)) return value;
  throw new AgentError("USAGE", "pairs must be addresses with numbers of grants");
}

function textOf(body: CallBody, key: string): string {
  const value = body[key];
  if (typeof value !== "string") throw new AgentError("USAGE", `the body needs the text ${key}`);
  return value;
}
