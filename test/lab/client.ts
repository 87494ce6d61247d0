import { spawn } from "node:child_process";
import { PATIENCE } from "../support/eventually.ts";
import { type ClientNode, gatewayOf, ports } from "./addresses.ts";
import { type CallLines, callByLines } from "./lines.ts";
import { programPath } from "./processes.ts";

/** A DNS record as plain JSON: data is text for addresses and names, an object for structured types, hexadecimal for others. */
export interface DnsRecord {
  readonly name: string;
  readonly type: string;
  readonly ttl: number;
  readonly data: unknown;
}

/** What became of a DNS question; `refused` is an ICMP error, RST or a closed connection. */
export type DnsResult =
  | {
      readonly outcome: "answer";
      readonly rcode: string;
      readonly authoritative: boolean;
      readonly truncated: boolean;
      readonly recursionAvailable: boolean;
      readonly authenticated: boolean;
      readonly answers: readonly DnsRecord[];
      readonly authorities: readonly DnsRecord[];
      readonly additionals: readonly DnsRecord[];
      /** All A and AAAA records of the answer section. */
      readonly addresses: readonly string[];
      readonly extendedErrors: readonly { readonly code: number; readonly text: string }[];
      readonly bytes: number;
      readonly ms: number;
    }
  | { readonly outcome: "refused"; readonly code: string; readonly ms: number }
  | { readonly outcome: "malformed"; readonly error: string; readonly ms: number }
  | { readonly outcome: "timeout"; readonly ms: number };

/** A DNS question; defaults: A, IN, the gateway over IPv4, port 53, UDP, RD=1, CD=0, EDNS with DO=0, 3,000 ms. */
export interface DnsQuestion {
  readonly type?: string;
  readonly queryClass?: "IN" | "CH" | "HS" | "ANY";
  readonly server?: string;
  readonly port?: number;
  readonly transport?: "udp" | "tcp";
  readonly recursionDesired?: boolean;
  readonly checkingDisabled?: boolean;
  readonly dnssecOk?: boolean;
  readonly edns?: boolean;
  readonly udpPayloadBytes?: number;
  readonly timeoutMs?: number;
  readonly source?: string;
}

interface Reached {
  readonly ms: number;
  readonly address: string;
  /** Milliseconds that the name took; missing when an address was given. */
  readonly resolveMs?: number;
}

/** Why nothing was reached: no address for the name, an answer of refusal (RST, ICMP; `code` is the errno), or silence. */
export type NotReached =
  | { readonly outcome: "unresolved"; readonly rcode: string; readonly ms: number }
  | ({ readonly outcome: "refused"; readonly code: string } & Reached)
  | ({ readonly outcome: "timeout" } & Reached);

/** The connection was made and then ended by an error. */
type Broken = { readonly outcome: "reset"; readonly code: string } & Reached;

export type ConnectResult = NotReached | ({ readonly outcome: "connected" } & Reached);
export type TlsResult =
  | NotReached
  | Broken
  | ({ readonly outcome: "connected"; readonly authorized: boolean; readonly error: string | null } & Reached);
export type GetResult =
  | NotReached
  | Broken
  | ({ readonly outcome: "connected"; readonly status: number; readonly body: string } & Reached);
export type ExchangeResult =
  | NotReached
  | ({ readonly outcome: "reset"; readonly code: string; readonly data: string } & Reached)
  | ({ readonly outcome: "closed"; readonly data: string } & Reached);
export type UdpResult = NotReached | ({ readonly outcome: "answered"; readonly data: string } & Reached);
export type StreamResult = NotReached | ({ readonly outcome: "connected"; readonly stream: LabStream } & Reached);

export type UploadResult =
  | NotReached
  | ({
      readonly outcome: "connected";
      /** What arrived of all flows, as the far end counts it; and of each. */
      readonly kbps: number;
      readonly flows: readonly number[];
      /** Flows that did not last. */
      readonly ended: number;
      /** What arrived of all flows from their beginning, as far as the far end could still tell. */
      readonly arrivedBytes: number;
      /** Share of the TCP segments of this node that were sent again, 0–1. */
      readonly retransmitted: number;
    } & Reached);

export interface StreamState {
  /** `closed` by the far end's FIN or by us, `reset` by an error (`code`). */
  readonly state: "opening" | "open" | "closed" | "reset" | "failed";
  readonly bytes: number;
  /** Since the last byte arrived. */
  readonly silentMs: number;
  readonly code: string | null;
  /** Since it ended; null while it is open. */
  readonly endedMs: number | null;
}

/** A connection that stays open; on an HTTP port a line arrives every 100 ms, on the echo port after each `write`. */
export interface LabStream {
  readonly state: () => Promise<StreamState>;
  readonly write: () => Promise<void>;
  readonly close: () => Promise<void>;
}

/** How a ClientHello is sent: in TCP segments or TLS records of so many bytes, or longer by so many. */
export interface HelloShape {
  readonly segmentBytes?: number;
  readonly recordBytes?: number;
  readonly extraBytes?: number;
}

/** One probe of a batch. */
export interface BatchCall {
  readonly method: "resolve" | "connect" | "tls" | "get" | "udp";
  readonly timeoutMs: number;
  readonly [parameter: string]: unknown;
}

interface Towards {
  /** Address family to resolve a name to; default 4. */
  readonly family?: 4 | 6;
  /** Who is asked for a name; default the gateway over IPv4. */
  readonly resolver?: string;
  /** Default 1,500. */
  readonly timeoutMs?: number;
}

/** A program inside a client's namespace that probes; hosts are names (resolved by the gateway) or addresses. */
export interface LabClient {
  readonly resolve: (name: string, question?: DnsQuestion) => Promise<DnsResult>;
  readonly connect: (host: string, port: number, options?: Towards & { source?: string }) => Promise<ConnectResult>;
  /** `servername` defaults to the host where that is a name. */
  readonly tls: (
    host: string,
    port: number,
    options?: Towards & { servername?: string; hello?: HelloShape; source?: string },
  ) => Promise<TlsResult>;
  /** Sends bytes and collects what comes back (as latin1 text) until the far end closes. */
  readonly exchange: (
    host: string,
    port: number,
    payload: Buffer | string,
    options?: Towards,
  ) => Promise<ExchangeResult>;
  /** HTTP GET, with TLS on port 443 unless `secure` says otherwise; `name` is the Host header. */
  readonly get: (
    host: string,
    port: number,
    options?: Towards & { secure?: boolean; servername?: string; name?: string; path?: string; source?: string },
  ) => Promise<GetResult>;
  readonly udp: (
    host: string,
    port: number,
    options?: Towards & { payload?: string; source?: string },
  ) => Promise<UdpResult>;
  /** Runs many probes in one call, up to 24 side by side; each names its method and has that one's parameters. */
  readonly batch: (calls: readonly BatchCall[]) => Promise<readonly { readonly [key: string]: unknown }[]>;
  /** Sends whole IP packets, headers and all, from whatever address they claim. @throws Error when the kernel does not take one */
  readonly raw: (packets: readonly { readonly to: string; readonly bytes: Buffer }[]) => Promise<void>;
  /**
   * Sends to port 7002 on 1 flow for 500 + 2,000 ms all it can, unless told otherwise; only the latter time counts. With
   * `web` it is the body of a request, over TLS on port 443.
   */
  readonly upload: (
    host: string,
    options?: Towards & {
      port?: number;
      flows?: number;
      warmUpMs?: number;
      forMs?: number;
      atKbps?: number;
      source?: string;
      web?: boolean;
      servername?: string;
      name?: string;
    },
  ) => Promise<UploadResult>;
  /** Opens a stream: plain on 80, 8080 and 7000, TLS on 443. */
  readonly stream: (
    host: string,
    port: number,
    options?: Towards & { servername?: string; name?: string },
  ) => Promise<StreamResult>;
}

const TIMEOUT_MS = 1_500 * PATIENCE;
const HTTPS_PORT = 443;
const HTTP_PORTS: readonly number[] = [80, 8080, HTTPS_PORT];

/** Starts the probing program in a client's namespace. It ends with the lab, or with its owner. */
export function startClient(
  namespace: string,
  node: ClientNode,
  caFile: string,
  env: { [name: string]: string },
): LabClient {
  const argument = JSON.stringify({ server: gatewayOf(node).v4, caFile });
  const argv = [`--net=/run/netns/${namespace}`, "--", process.execPath, programPath("client/client.mjs"), argument];
  const child = spawn("nsenter", argv, {
    env: { ...process.env, ...env },
    detached: true,
    stdio: ["pipe", "pipe", "inherit"],
  });
  return clientOver(callByLines(child.stdin, child.stdout, `the client ${node}`));
}

function clientOver(call: CallLines): LabClient {
  const towards = (method: string, host: string, port: number, defaults: object, options: object = {}) =>
    call(method, { host, port, timeoutMs: TIMEOUT_MS, ...defaults, ...options });
  return {
    resolve: async (name, question) => (await call("resolve", { name, ...question })) as DnsResult,
    connect: async (host, port, options) => (await towards("connect", host, port, {}, options)) as ConnectResult,
    tls: async (host, port, options) => (await towards("tls", host, port, {}, options)) as TlsResult,
    exchange: async (host, port, payload, options) =>
      (await towards(
        "exchange",
        host,
        port,
        { payload: Buffer.from(payload).toString("base64") },
        options,
      )) as ExchangeResult,
    get: async (host, port, options) =>
      (await towards("get", host, port, { path: "/", secure: port === HTTPS_PORT }, options)) as GetResult,
    udp: async (host, port, options) => (await towards("udp", host, port, { payload: "ping" }, options)) as UdpResult,
    batch: async (calls) => (await call("batch", { calls, sideBySide: 24 })) as { [key: string]: unknown }[],
    raw: async (packets) => {
      const encoded = packets.map(({ to, bytes }) => ({ to, bytes: bytes.toString("base64") }));
      await call("raw", { packets: encoded });
    },
    upload: async (host, options) =>
      (await towards(
        "upload",
        host,
        ports.tcpSink,
        { flows: 1, warmUpMs: 500, forMs: 2_000, atKbps: 10_000_000 },
        options,
      )) as UploadResult,
    stream: async (host, port, options) => {
      const kind = { secure: port === HTTPS_PORT, request: HTTP_PORTS.includes(port) };
      const result = (await towards("stream.open", host, port, kind, options)) as (NotReached | Reached) & {
        id?: number;
      };
      if (typeof result.id !== "number") return result as NotReached;
      const { id, ...rest } = result;
      const stream: LabStream = {
        state: async () => (await call("stream.state", { id })) as StreamState,
        write: async () => void (await call("stream.write", { id })),
        close: async () => void (await call("stream.close", { id })),
      };
      return { ...rest, stream } as StreamResult;
    },
  };
}
