import { randomBytes } from "node:crypto";
import { getPriority, setPriority } from "node:os";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import type { Logger } from "pino";
import { createAgentClient } from "../control/agent-client.ts";
import { createRecorder, type Recorder } from "../decisions/recorder.ts";
import { createRedaction } from "../decisions/redact.ts";
import { type DecisionStore, openDecisionStore } from "../decisions/store.ts";
import { readTelemetry } from "../decisions/telemetry.ts";
import { createWatchers } from "../decisions/watch.ts";
import { nowMs, sleepMs } from "../host/clock.ts";
import { readFileBytes, readFileIfAny, replaceFile } from "../host/files.ts";
import { readSecret, secretPath } from "../host/secret-file.ts";
import { pathsOf } from "../settings/paths.ts";
import type { Settings } from "../settings/settings.ts";
import { buildServer } from "./build-server.ts";
import { type ApiKey, readApiKeys } from "./keys.ts";
import { createMetrics } from "./metrics.ts";
import { addRoutes, type RouteParts } from "./routes.ts";
import { serveTelemetry } from "./serve-telemetry.ts";

export type ApiLog = Pick<Logger, "info" | "warn" | "error">;

const TALLY_MS = 1_000;
const TRAFFIC_MS = 5_000;
const SYNC_MS = 5_000;
const LISTEN_RETRY_MS = 5_000;
const CERTIFICATE_CHECK_MS = 60_000;
const MAX_PEM_BYTES = 1024 * 1024;
/** Behind everything that is in the path of a packet. */
const NICENESS = 10;

/**
 * Keeps the decisions and serves the API, the metrics and the telemetry until SIGTERM or SIGINT. It needs no privilege:
 * what only root may do, the agent does for it. When it is away, nothing that is enforced changes, and the gate and the
 * kernel go on counting. @throws AgentError HOST_FILE when the stored decisions cannot be read
 */
export async function runApi(settings: Settings, log: ApiLog): Promise<void> {
  const paths = pathsOf(settings);
  // Its unit has done it already, and may not any more.
  if (getPriority() < NICENESS) setPriority(NICENESS);
  const nowS = (): number => Math.floor(nowMs() / 1000);
  const agent = createAgentClient(paths.agentSocket);
  const store = openDecisionStore({ ...settings.decisions, folder: paths.decisions, nowS });
  const metrics = createMetrics();
  const watchers = createWatchers();
  const recorder = createRecorder({
    ...{ store, nowS },
    readTally: (source, ack) => agent.tally(source, ack),
    readCounters: () => agent.counters(),
    onRows: (rows) => {
      metrics.note(rows);
      watchers.note(rows);
    },
  });
  const redact = createRedaction(await readRedactionSecret(join(paths.decisions, "redaction.key")));
  const telemetry: RouteParts["telemetry"] = async (query, isRedacted) => {
    await Promise.all([recorder.takeTallies(), recorder.takeTraffic()]);
    return readTelemetry(store, query, nowS(), isRedacted ? redact : null);
  };
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());
  const socket = await serveTelemetry(paths.apiSocket, { telemetry, watchers, state: () => store.state() });
  log.info({ event: "api-started", ...store.state() });
  const work: Promise<void>[] = [
    ...keepRecording(recorder, store, log, stop.signal),
    untilDone(async () => metrics.begin(await agent.measures()), stop.signal),
  ];
  const app = settings.api.port !== null ? await openHttp(settings, log) : null;
  if (app !== null) {
    addRoutes(app, {
      ...{ agent, telemetry },
      metrics: async () => {
        await recorder.takeTallies().catch(() => {
          // The part that is down has its own metric.
        });
        const [status, counters, measures] = await Promise.allSettled([
          agent.status(),
          agent.counters(),
          agent.measures(),
        ]);
        const text = await metrics.render({
          nowMs: nowMs(),
          status: status.status === "fulfilled" ? status.value : null,
          counters: counters.status === "fulfilled" ? counters.value : null,
          measures: measures.status === "fulfilled" ? measures.value : null,
          store: store.state(),
        });
        return { text, type: metrics.contentType };
      },
      metricsScope: settings.api.metrics === "key" ? "read" : null,
      readWebhookSecret: secretReader(settings.api.webhookSecretFile),
      policyPath: policyPathOf(settings),
    });
    work.push(listen(app, settings, log, stop.signal), renewCertificate(app, settings, log, stop.signal));
  }
  try {
    await Promise.all(work);
  } finally {
    await app?.close();
    await socket.close();
    await store.sync();
    store.close();
    log.info({ event: "api-stopped" });
  }
}

function policyPathOf({ repository, paths }: Settings): string {
  const { url, policyPath } = repository;
  return `${url ?? pathsOf({ paths }).own.repository}:${policyPath}`;
}

function secretReader(file: string | null): RouteParts["readWebhookSecret"] {
  return file === null ? null : () => readSecret(file);
}

async function openHttp(settings: Settings, log: ApiLog): Promise<FastifyInstance> {
  const { apiKeys } = pathsOf(settings);
  return await buildServer({
    settings: settings.api,
    tls: await readTls(settings),
    readKeys: (): Promise<readonly ApiKey[]> => readApiKeys(apiKeys),
    log,
  });
}

async function readTls({ api }: Settings): Promise<{ readonly cert: Buffer; readonly key: Buffer } | null> {
  if (api.tls === null) return null;
  const [cert, key] = await Promise.all([
    readFileBytes(secretPath(api.tls.certificateFile), MAX_PEM_BYTES),
    readFileBytes(secretPath(api.tls.keyFile), MAX_PEM_BYTES),
  ]);
  return { cert, key };
}

/** A port that is taken keeps nobody from recording. */
async function listen(app: FastifyInstance, { api }: Settings, log: ApiLog, signal: AbortSignal): Promise<void> {
  await app.ready();
  while (!signal.aborted) {
    try {
      await app.listen({ host: api.address, port: api.port ?? 0 });
      log.info({ event: "api-listens", address: api.address, port: api.port, tls: api.tls !== null });
      return await aborted(signal);
    } catch (error) {
      log.error({ event: "api-not-listening", reason: (error as Error).message });
      await sleepMs(LISTEN_RETRY_MS, signal).catch(stopped);
    }
  }
}

/** A certificate that was renewed on disk is served from the next handshake on. */
async function renewCertificate(
  app: FastifyInstance,
  settings: Settings,
  log: ApiLog,
  signal: AbortSignal,
): Promise<void> {
  let served = (await readTls(settings))?.cert ?? null;
  while (served !== null && !signal.aborted) {
    await sleepMs(CERTIFICATE_CHECK_MS, signal).catch(stopped);
    try {
      const tls = await readTls(settings);
      if (tls === null || tls.cert.equals(served)) continue;
      (app.server as unknown as { setSecureContext(options: object): void }).setSecureContext(tls);
      served = tls.cert;
      log.info({ event: "certificate-renewed" });
    } catch (error) {
      log.warn({ event: "certificate-unread", reason: (error as Error).message });
    }
  }
}

function keepRecording(
  recorder: Recorder,
  store: DecisionStore,
  log: ApiLog,
  signal: AbortSignal,
): readonly Promise<void>[] {
  const keep = async (everyMs: number, what: string, work: () => Promise<void>): Promise<void> => {
    let said = "";
    while (!signal.aborted) {
      try {
        await work();
        said = "";
      } catch (error) {
        const { message } = error as Error;
        if (message !== said) log.warn({ event: what, reason: message });
        said = message;
      }
      await sleepMs(everyMs, signal).catch(stopped);
    }
  };
  return [
    keep(TALLY_MS, "decisions-unread", recorder.takeTallies),
    keep(TRAFFIC_MS, "traffic-unread", recorder.takeTraffic),
    keep(SYNC_MS, "decisions-not-durable", store.sync),
  ];
}

/** Does work that needs the agent as soon as that is there. */
async function untilDone(work: () => Promise<void>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      return await work();
    } catch {
      await sleepMs(TALLY_MS, signal).catch(stopped);
    }
  }
}

const SECRET_BYTES = 32;

/** Pseudonyms stay the same for as long as the decisions do. */
async function readRedactionSecret(path: string): Promise<Buffer> {
  const known = await readFileIfAny(path, SECRET_BYTES);
  if (known?.length === SECRET_BYTES) return known;
  const secret = randomBytes(SECRET_BYTES);
  await replaceFile(path, secret, 0o600);
  return secret;
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

function stopped(): void {
  // Told to stop: the loop's condition ends it.
}
