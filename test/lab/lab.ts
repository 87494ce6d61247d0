import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunResult } from "../../agent/host/run.ts";
import type { addresses, ClientNode, LabNode, NameAddresses, names } from "./addresses.ts";
import type { LabClient } from "./client.ts";
import type { Block, PacketFilter, PacketTotal } from "./counters.ts";
import type { LoggedQuery } from "./name-server.ts";
import type { LabProcess, SpawnOptions } from "./processes.ts";
import { raiseLab } from "./raise-lab.ts";
import type { LabGit } from "./repositories.ts";
import type { LabStatuses } from "./statuses.ts";
import { startWatcher } from "./watcher.ts";

export interface LabOptions {
  /** True gives the internet side routes to the client networks; without it only masked packets are answered. */
  readonly routeClients?: boolean;
}

export interface QueryFilter {
  /** The name itself, or with `*.` in front every name below it. */
  readonly name?: string;
  readonly type?: string;
}

/** A small world round one gateway: clients, an internet, a management side. See README.md beside this file. */
export interface Lab {
  readonly id: string;
  /** `cg<id>-`; namespaces that a test makes itself are removed with the lab when their names begin with it. */
  readonly prefix: string;
  /** Temporary folder of the lab, readable for all users; removed by `stop`. */
  readonly folder: string;
  readonly addresses: typeof addresses;
  readonly names: typeof names;
  readonly caFile: string;
  /** BIND `trust-anchors` statement for the signed zones. */
  readonly trustAnchorsFile: string;
  readonly queryLogFile: string;
  readonly startMs: number;
  readonly namespace: (node: LabNode) => string;
  /** Runs a program on a node and returns its exit code and output. Default time limit: 10,000 ms. */
  readonly exec: (node: LabNode, argv: readonly string[], options?: ExecOptions) => Promise<RunResult>;
  /** Like `exec`, but a failure is an error; returns standard output. @throws AgentError HOST_COMMAND */
  readonly execChecked: (node: LabNode, argv: readonly string[], options?: ExecOptions) => Promise<string>;
  /** Starts a program on a node; it lives until it ends, is killed, or the lab stops. */
  readonly spawn: (node: LabNode, argv: readonly string[], options?: SpawnOptions) => LabProcess;
  /** The probing program of a client, started at the first call. */
  readonly client: (node: ClientNode) => LabClient;
  readonly git: LabGit;
  readonly statuses: LabStatuses;
  /** Sets the point from which `packets`, `queries`, `requests` and `git.counters` count. */
  readonly mark: () => Promise<void>;
  readonly packets: (filter?: PacketFilter) => Promise<PacketTotal>;
  /** Questions that reached the internet's name server. */
  readonly queries: (filter?: QueryFilter) => Promise<readonly LoggedQuery[]>;
  readonly requests: () => Promise<readonly WebRequest[]>;
  /** Gives `moving.test` and every name below it other addresses, with a TTL of 2 s. */
  readonly move: (to: NameAddresses) => Promise<void>;
  /** Replaces the list of destinations that the internet side blocks; an empty one unblocks all. */
  readonly block: (blocks: readonly Block[]) => Promise<void>;
  /** Ends every process, namespace and file of the lab; resolves when they are gone. May be called twice. */
  readonly stop: () => Promise<void>;
}

export interface ExecOptions {
  readonly timeoutMs?: number;
  readonly stdin?: string;
  readonly env?: { readonly [name: string]: string };
  readonly cwd?: string;
}

/** A request that reached a web server of the lab. */
export interface WebRequest {
  /** Host header without port. */
  readonly host: string;
  readonly path: string;
  /** Where it was sent to. */
  readonly address: string;
  readonly port: number;
  readonly from: string;
  /** SNI; null over plain HTTP or without one. */
  readonly servername: string | null;
}

/**
 * Brings up a lab and returns it when every service answers. Needs root, ip, nft, named, dnssec-signzone, openssl and git.
 * Nothing of it survives `stop`, nor the end of this process by whatever cause.
 * @throws AgentError HOST_COMMAND or HOST_MISSING, Error when a service does not start; nothing is left behind then.
 */
export async function startLab(options: LabOptions = {}): Promise<Lab> {
  const startedMs = performance.now();
  const id = randomBytes(3).toString("hex");
  const folder = join(tmpdir(), `clawgress-lab-${id}-${randomBytes(3).toString("hex")}`);
  const watcher = await startWatcher(id, folder);
  try {
    const lab = await raiseLab(id, folder, options, watcher.stop);
    return { ...lab, startMs: performance.now() - startedMs };
  } catch (error) {
    await watcher.stop();
    throw error;
  }
}
