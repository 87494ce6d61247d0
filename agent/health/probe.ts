import { Resolver } from "node:dns/promises";
import { connect } from "node:net";
import { connect as connectTls } from "node:tls";

/** One check of one name, as data: the same code runs on the gateway and, as a client, inside the probe namespace. */
export interface ProbeTask {
  readonly name: string;
  readonly type: "dns" | "tcp" | "tls";
  readonly to: string;
  readonly port: number | null;
  readonly expect: "allow" | "deny";
  /** DNS servers, `address` or `address:port` (`[address]:port` for IPv6). */
  readonly servers: readonly string[];
  /** Source addresses; null leaves the choice to the kernel. */
  readonly source4: string | null;
  readonly source6: string | null;
  readonly timeoutMs: number;
  readonly attempts: number;
  /** A mandatory probe is blamed on the change even when it failed before it. */
  readonly mandatory: boolean;
}

export interface ProbeResult {
  readonly name: string;
  readonly passed: boolean;
  readonly mandatory: boolean;
  /** What was seen, for people: `a.test: 203.0.113.10 accepts on port 443`. */
  readonly detail: string;
}

type Observation = { readonly seen: "allow" | "deny" | "unclear"; readonly detail: string };

/**
 * Returns whether a probe saw what it expects within its attempts. `deny` needs a definite refusal (NXDOMAIN, a reset or
 * reject of the connection, for `tls` also its end before the handshake): a timeout or SERVFAIL proves nothing and fails
 * either expectation. `tls` says the name in its ClientHello and believes any certificate: only the path is under test.
 */
export async function runProbe(task: ProbeTask): Promise<ProbeResult> {
  const { name, mandatory } = task;
  let last: Observation = { seen: "unclear", detail: "not tried" };
  for (let attempt = 0; attempt < task.attempts; attempt++) {
    last = await observe(task);
    if (last.seen === task.expect) return { name, mandatory, passed: true, detail: last.detail };
  }
  return { name, mandatory, passed: false, detail: `expected ${task.expect}, but ${last.detail}` };
}

async function observe(task: ProbeTask): Promise<Observation> {
  const resolved = await resolveName(task);
  if (!("address" in resolved)) return resolved;
  if (task.type === "dns" || task.port === null) {
    return { seen: "allow", detail: `${task.to} resolves to ${resolved.address}` };
  }
  return await tryConnect(task, resolved.address, task.port);
}

async function resolveName(task: ProbeTask): Promise<Observation | { readonly address: string }> {
  const resolver = new Resolver({ timeout: task.timeoutMs, tries: 1 });
  resolver.setServers([...task.servers]);
  if (task.source4 !== null) resolver.setLocalAddress(task.source4, task.source6 ?? undefined);
  try {
    const [address] = await resolver.resolve4(task.to);
    if (address !== undefined) return { address };
  } catch (error) {
    if (!isNoData(error)) return describeResolveError(task, error);
  }
  try {
    const [address] = await resolver.resolve6(task.to);
    if (address !== undefined) return { address };
  } catch (error) {
    if (!isNoData(error)) return describeResolveError(task, error);
  }
  return { seen: "unclear", detail: `${task.to} has no address` };
}

function isNoData(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENODATA";
}

function describeResolveError(task: ProbeTask, error: unknown): Observation {
  const code = (error as NodeJS.ErrnoException).code ?? "unknown error";
  if (code === "ENOTFOUND") return { seen: "deny", detail: `${task.to} does not exist (NXDOMAIN)` };
  return { seen: "unclear", detail: `${task.to} does not resolve (${code})` };
}

const REFUSALS = ["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EACCES"];

async function tryConnect(task: ProbeTask, address: string, port: number): Promise<Observation> {
  const localAddress = address.includes(":") ? task.source6 : task.source4;
  return await new Promise<Observation>((resolve) => {
    const options = { host: address, port, ...(localAddress === null ? {} : { localAddress }) };
    const isSecure = task.type === "tls";
    const socket = isSecure
      ? connectTls({ ...options, servername: task.to, rejectUnauthorized: false })
      : connect(options);
    const finish = (observation: Observation): void => {
      socket.destroy();
      resolve(observation);
    };
    socket.setTimeout(task.timeoutMs, () =>
      finish({ seen: "unclear", detail: `${task.to} (${address}) does not answer on port ${port}` }),
    );
    socket.once(isSecure ? "secureConnect" : "connect", () =>
      finish({ seen: "allow", detail: `${task.to} (${address}) accepts on port ${port}` }),
    );
    socket.once("error", (error: NodeJS.ErrnoException) => {
      const refused = [...REFUSALS, ...(isSecure ? ["ECONNRESET"] : [])].includes(error.code ?? "");
      finish({ seen: refused ? "deny" : "unclear", detail: `${task.to} (${address}) port ${port}: ${error.code}` });
    });
  });
}
