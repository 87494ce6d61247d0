// What both ends of a flow do: they say a numbered message every 50 ms, with its time, and note what comes from the other.
import { createInterface } from "node:readline";

const TICK_MS = 50;

/** All flows of this end, by their names. `say` sends a text; a flow that has ended says nothing more. */
const flows = new Map();

/** Notes a flow from now on; `say(text)` sends one message of it. */
export function begin(id, say) {
  const flow = { say, sent: 0, received: 0, lastAt: null, longestWaitMs: 0, endedAt: null, how: null, isClosed: false };
  flows.set(id, flow);
  return flow;
}

/** Takes a message of the far side of a flow: `id number sent-at`. */
export function hear(flow, message) {
  const now = Date.now();
  flow.received += 1;
  flow.lastAt = now;
  flow.longestWaitMs = Math.max(flow.longestWaitMs, now - Number(message.split(" ")[2]));
}

/** Notes the first sign of its end. */
export function end(flow, how) {
  if (flow.endedAt === null && !flow.isClosed) Object.assign(flow, { endedAt: Date.now(), how });
}

/** Calls back with each whole line that a socket brings. */
export function onLines(socket, onLine) {
  let rest = "";
  socket.on("data", (chunk) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    lines.forEach(onLine);
  });
}

setInterval(() => {
  for (const [id, flow] of flows) {
    if (flow.isClosed) continue;
    flow.say(`${id} ${flow.sent} ${Date.now()}`);
    flow.sent += 1;
  }
}, TICK_MS);

/** Answers calls, one JSON object a line, until standard input ends. */
export function serve(methods) {
  const all = {
    /** What flows have seen at this end since they began; times are the wall clock's. */
    report: ({ ids }) =>
      ids.map((id) => {
        const flow = flows.get(id);
        if (flow === undefined) return null;
        const { sent, received, lastAt, longestWaitMs, endedAt, how } = flow;
        return { sent, received, lastAt, longestWaitMs, endedAt, how };
      }),
    /** Says nothing more from this end; what is on its way is still heard. */
    hush: ({ ids }) => {
      for (const id of ids) if (flows.has(id)) flows.get(id).isClosed = true;
    },
    ...methods,
  };
  const answer = async (line) => {
    const { id, method, params } = JSON.parse(line);
    try {
      return { id, result: (await all[method](params)) ?? null };
    } catch (error) {
      return { id, error: error.message };
    }
  };
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => void answer(line).then((reply) => process.stdout.write(`${JSON.stringify(reply)}\n`)));
  lines.on("close", () => process.exit(0));
}
