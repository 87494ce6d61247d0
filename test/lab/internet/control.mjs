// The services' control socket: one JSON object a line, {id, method, params} in, {id, result} or {id, error} out.
import { createServer } from "node:net";
import { createInterface } from "node:readline";

/** Serves the methods on a Unix socket; resolves when it listens. */
export function serveControl(path, methods) {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    createInterface({ input: socket }).on("line", (line) => {
      void answer(methods, line).then((reply) => socket.write(`${JSON.stringify(reply)}\n`));
    });
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
}

async function answer(methods, line) {
  const { id, method, params } = JSON.parse(line);
  try {
    const call = methods[method];
    if (call === undefined) throw new Error(`the lab's services have no method ${method}`);
    return { id, result: (await call(params ?? {})) ?? null };
  } catch (error) {
    return { id, error: error.message };
  }
}
