import { writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { monotonicMs, sleepMs } from "../../agent/host/clock.ts";
import { addresses, ports, serviceAddresses } from "./addresses.ts";
import type { CertificateFiles } from "./certificates.ts";
import { type CallLines, callByLines } from "./lines.ts";
import { type LabProcess, packageRoot, programPath, startProcess } from "./processes.ts";

/** Calls a method of the services process, see `internet/services.mjs`. */
export type CallServices = CallLines;

export interface ServicesOptions {
  readonly namespace: string;
  readonly folder: string;
  readonly repositories: string;
  readonly tls: CertificateFiles;
  readonly gitToken: string;
  readonly statusToken: string;
  readonly env: { readonly [name: string]: string };
}

const READY_TIMEOUT_MS = 15_000;

/** Starts the web, Git and status servers and returns when all listen. @throws Error with their output when they do not. */
export async function startServices(options: ServicesOptions): Promise<{ call: CallServices; close: () => void }> {
  const { namespace, folder, env, ...rest } = options;
  const controlSocket = join(folder, "services.sock");
  const configurationFile = join(folder, "services.json");
  const openApiFile = join(packageRoot(), "test", "fixtures", "github", "commit-statuses.openapi.json");
  const configuration = { ...rest, controlSocket, openApiFile, addresses, ports, serviceAddresses };
  await writeFile(configurationFile, JSON.stringify(configuration), { mode: 0o600 });
  const argv = [process.execPath, programPath("internet/services.mjs"), configurationFile];
  const services = startProcess(namespace, argv, { env });
  await waitForOutput(services, "ready", "the lab's services");
  const socket = connect(controlSocket);
  socket.unref();
  return { call: callByLines(socket, socket, "the lab's services"), close: () => socket.destroy() };
}

/** Resolves when a process has printed a text. @throws Error with its output when it ends, or after 15 s. */
export async function waitForOutput(process: LabProcess, text: string, what: string): Promise<void> {
  const deadlineMs = monotonicMs() + READY_TIMEOUT_MS;
  let ended = false;
  void process.exited.then(() => {
    ended = true;
  });
  while (!process.output().includes(text)) {
    if (ended || monotonicMs() > deadlineMs) throw new Error(`${what} did not start: ${process.output()}`);
    await sleepMs(5);
  }
}
