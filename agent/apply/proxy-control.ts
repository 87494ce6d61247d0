import { connect } from "node:net";
import { AgentError } from "../errors.ts";
import { formatAddress } from "../policy/cidr.ts";

/** The proxy's control socket. Every call is a connection of its own: one command, its answer, the end. */

const TIMEOUT_MS = 10_000;
const MAX_ANSWER_BYTES = 512 * 1024 * 1024;
/** A command with its payload must fit the proxy's buffer of 20 kB. */
const MAX_PAYLOAD_BYTES = 12_000;

/** A connection under way, as the proxy tracks it. */
export interface ProxyFlow {
  readonly client: string;
  readonly port: number;
  readonly name: string;
  readonly plane: "tls" | "http";
  /** What the name led to; null as long as it has not. */
  readonly address: string | null;
}

/** Returns what the proxy answers to one command, as text. @throws AgentError APPLY_FAILED when it does not answer. */
export async function askProxy(socketPath: string, command: string): Promise<string> {
  return await new Promise<string>((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const fail = (why: string): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(new AgentError("APPLY_FAILED", `the proxy does not answer on ${socketPath}: ${why}`));
    };
    const timer = setTimeout(() => fail(`no answer within ${TIMEOUT_MS} ms`), TIMEOUT_MS);
    const socket = connect(socketPath, () => socket.write(`${command}\n`));
    socket.on("error", (error) => fail(error.message));
    socket.on("data", (chunk) => {
      bytes += chunk.length;
      if (bytes > MAX_ANSWER_BYTES) fail(`more than ${MAX_ANSWER_BYTES} bytes`);
      else chunks.push(chunk);
    });
    socket.on("end", () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(Buffer.concat(chunks).toString("utf8"));
    });
  });
}

/** Returns the lines of a map that the proxy goes by at this moment: `key value`. @throws AgentError APPLY_FAILED */
export async function readProxyMap(socketPath: string, map: string): Promise<ReadonlySet<string>> {
  const answer = await askProxy(socketPath, `show map ${map}`);
  const lines = answer.split("\n").filter((line) => line !== "");
  if (lines.some((line) => !line.startsWith("0x"))) throw refused(`show map ${map}`, answer);
  // The first word is the entry's place in memory.
  return new Set(lines.map((line) => line.slice(line.indexOf(" ") + 1)));
}

/** Replaces all of a map at once: a connection is judged by the old lines or by the new ones. @throws AgentError APPLY_FAILED */
export async function replaceProxyMap(socketPath: string, map: string, lines: Iterable<string>): Promise<void> {
  const answer = await askProxy(socketPath, `prepare map ${map}`);
  const version = /: ([0-9]+)/.exec(answer)?.[1];
  if (version === undefined) throw refused(`prepare map ${map}`, answer);
  for (const payload of payloads(lines)) {
    const said = await askProxy(socketPath, `add map @${version} ${map} <<\n${payload}`);
    if (said.trim() !== "") throw refused(`add map ${map}`, said);
  }
  const said = await askProxy(socketPath, `commit map @${version} ${map}`);
  if (said.trim() !== "") throw refused(`commit map ${map}`, said);
}

/**
 * Takes lines from a map and adds others, one by one: for a few changes of a large map. @throws AgentError APPLY_FAILED
 */
export async function changeProxyMap(
  socketPath: string,
  map: string,
  { removed, added }: { readonly removed: readonly string[]; readonly added: readonly string[] },
): Promise<void> {
  for (const line of removed) {
    const command = `del map ${map} ${line.slice(0, line.indexOf(" "))}`;
    const said = await askProxy(socketPath, command);
    if (said.trim() !== "") throw refused(command, said);
  }
  for (const payload of payloads(added)) {
    const said = await askProxy(socketPath, `add map ${map} <<\n${payload}`);
    if (said.trim() !== "") throw refused(`add map ${map}`, said);
  }
}

function* payloads(lines: Iterable<string>): Generator<string> {
  let payload = "";
  for (const line of lines) {
    payload += `${line}\n`;
    if (payload.length < MAX_PAYLOAD_BYTES) continue;
    yield payload;
    payload = "";
  }
  if (payload !== "") yield payload;
}

const flowPattern = /key=([^| ]+)\|([0-9]+)\|([^| ]+)\|(tls|http) use=[1-9]/;

/** Returns the connections under way in a table of the proxy, judged or being judged. @throws AgentError APPLY_FAILED */
export async function listProxyFlows(socketPath: string, table: string): Promise<readonly ProxyFlow[]> {
  const answer = await askProxy(socketPath, `show table ${table}`);
  return answer.split("\n").flatMap((line) => {
    const [, client, port, name, plane] = flowPattern.exec(line) ?? [];
    if (client === undefined || name === undefined || (plane !== "tls" && plane !== "http")) return [];
    return [{ client, port: Number(port), name, plane, address: addressOf(line) }];
  });
}

const addressPattern = / gpt0=([0-9]+) gpt1=([0-9]+) gpt2=([0-9]+) gpt3=([0-9]+) gpt4=([46])/;

/** The address in the numbers of a flow, or null while it has none. */
function addressOf(line: string): string | null {
  const parts = addressPattern.exec(line)?.slice(1).map(BigInt);
  if (parts === undefined) return null;
  const [first = 0n, second = 0n, third = 0n, last = 0n, family] = parts;
  if (family === 4n) return formatAddress({ family: 4, value: last });
  return formatAddress({ family: 6, value: (first << 96n) | (second << 64n) | (third << 32n) | last });
}

/**
 * Returns what each client was refused since the proxy knows it, as `tls <address>` and `http <address>`: a client is
 * forgotten after 10 minutes of silence. @throws AgentError APPLY_FAILED
 */
export async function readProxyRefused(socketPath: string, table: string): Promise<ReadonlyMap<string, number>> {
  const answer = await askProxy(socketPath, `show table ${table}`);
  const counts = new Map<string, number>();
  for (const line of answer.split("\n")) {
    const client = / key=(?:::ffff:)?([0-9a-f.:]+) /.exec(line)?.[1];
    if (client === undefined) continue;
    for (const [plane, counter] of [
      ["tls", / gpc0=([0-9]+)/],
      ["http", / gpc1=([0-9]+)/],
    ] as const) {
      const count = Number(counter.exec(line)?.[1] ?? 0);
      if (count > 0) counts.set(`${plane} ${client}`, count);
    }
  }
  return counts;
}

/**
 * Ends the given connections, both sides at once. A client's port is one connection of a frontend: the kernel gives a
 * second one to another far address another source when it redirects both. @throws AgentError APPLY_FAILED
 */
export async function endProxyFlows(socketPath: string, flows: readonly ProxyFlow[]): Promise<void> {
  const wanted = new Set(flows.map(({ client, port, plane }) => `${client}:${port} ${plane}`));
  const answer = await askProxy(socketPath, "show sess");
  for (const line of answer.split("\n")) {
    const [, id, source, plane] = /^(0x[0-9a-f]+): .*?\bsrc=(\S+) fe=(tls|http)[46] /.exec(line) ?? [];
    if (id !== undefined && wanted.has(`${source} ${plane}`)) await askProxy(socketPath, `shutdown session ${id}`);
  }
}

function refused(command: string, answer: string): AgentError {
  return new AgentError("APPLY_FAILED", `the proxy refuses "${command}": ${answer.trim().slice(0, 200)}`);
}
