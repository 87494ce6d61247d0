import { randomBytes } from "node:crypto";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { sleepMs } from "../../agent/host/clock.ts";
import { run, runChecked } from "../../agent/host/run.ts";
import { addresses, type ClientNode, clientNodes, gatewayOf, type LabNode, names } from "./addresses.ts";
import { makeCertificates } from "./certificates.ts";
import { type LabClient, startClient } from "./client.ts";
import { countersRuleset } from "./counters.ts";
import type { Lab, LabOptions } from "./lab.ts";
import { type NameServerFiles, prepareNameServer, writeMovingZone } from "./name-server.ts";
import { raiseNetwork, waitForBridge } from "./network.ts";
import { observe } from "./observer.ts";
import { type LabProcess, startProcess } from "./processes.ts";
import { createRepository, type LabGit, setGitFault } from "./repositories.ts";
import { type CallServices, startServices } from "./services.ts";
import { statusControls } from "./statuses.ts";
import { movingZone } from "./zones.ts";

/** Brings up network and services in a folder that exists, and returns the lab's face. @throws what `startLab` throws */
export async function raiseLab(
  id: string,
  folder: string,
  options: LabOptions,
  stop: () => Promise<void>,
): Promise<Omit<Lab, "startMs">> {
  const prefix = `cg${id}-`;
  const env = { CLAWGRESS_LAB: id };
  const namespace = (node: LabNode): string => `${prefix}${node}`;
  const enter = (node: LabNode): [string, ...string[]] => ["nsenter", `--net=/run/netns/${namespace(node)}`, "--"];
  const repositories = join(folder, "repositories");
  const clones = join(folder, "clones");
  // Other users (named's, the gate's) must pass through, whatever umask the caller has.
  for (const path of [folder, repositories, clones]) {
    await mkdir(path, { recursive: true });
    await chmod(path, 0o755);
  }
  const tokens = { git: randomBytes(12).toString("hex"), statuses: randomBytes(12).toString("hex") };
  const [tls, dns] = await Promise.all([
    makeCertificates(join(folder, "tls"), env),
    prepareNameServer(join(folder, "dns"), env),
    raiseNetwork({ namespaceOf: namespace, env, routeClients: options.routeClients ?? false }),
  ]);
  const nft: [string, ...string[]] = [...enter("internet"), "nft"];
  const nameServer = startNameServer(namespace("internet"), dns, join(folder, "dns", "named.log"), env);
  const [services] = await Promise.all([
    startServices({
      namespace: namespace("internet"),
      folder,
      repositories,
      tls,
      gitToken: tokens.git,
      statusToken: tokens.statuses,
      env,
    }),
    runChecked([...nft, "-f", "-"], { timeoutMs: 20_000, stdin: countersRuleset, env }),
    waitForBridge(namespace("gateway"), env),
    writeResolvers(namespace),
  ]);
  await waitForNameServer(services.call, nameServer, join(folder, "dns", "named.log"));
  const observer = await observe({ call: services.call, nft, dns });
  const clients = new Map<ClientNode, LabClient>();
  let movingSerial = 1;

  const nodeEnv = { ...env, ...programEnv(tls.ca) };

  const exec: Lab["exec"] = (node, argv, { timeoutMs = 10_000, env: extra, ...rest } = {}) =>
    run([...enter(node), ...argv], { timeoutMs, env: { ...nodeEnv, ...extra }, ...rest });
  const execChecked: Lab["execChecked"] = (node, argv, { timeoutMs = 10_000, env: extra, ...rest } = {}) =>
    runChecked([...enter(node), ...argv], { timeoutMs, env: { ...nodeEnv, ...extra }, ...rest });
  const git: LabGit = {
    host: "git.lab.test",
    token: tokens.git,
    createRepository: (name) => createRepository(repositories, clones, "git.lab.test", name),
    fault: (fault, faultOptions = {}) => setGitFault(services.call, fault, faultOptions),
    requireToken: async (on) => void (await services.call("git.requireToken", { on })),
    dropConnections: async () => void (await services.call("git.dropConnections")),
    counters: observer.gitCounters,
  };
  return {
    id,
    prefix,
    folder,
    addresses,
    names,
    caFile: tls.ca,
    trustAnchorsFile: dns.trustAnchors,
    queryLogFile: dns.queryLog,
    namespace,
    exec,
    execChecked,
    spawn: (node, argv, spawnOptions = {}) =>
      startProcess(namespace(node), argv, { ...spawnOptions, env: { ...nodeEnv, ...spawnOptions.env, ...env } }),
    client: (node) => {
      const client = clients.get(node) ?? startClient(namespace(node), node, tls.ca, env);
      clients.set(node, client);
      return client;
    },
    git,
    statuses: statusControls(services.call, "api.lab.test", tokens.statuses),
    mark: observer.mark,
    packets: observer.packets,
    queries: observer.queries,
    requests: observer.requests,
    block: observer.block,
    move: async (to) => {
      movingSerial += 1;
      await writeMovingZone(dns, movingSerial, to);
      process.kill(nameServer.pid, "SIGHUP");
      await waitForSerial(services.call, movingSerial);
    },
    stop: async () => {
      services.close();
      await stop();
    },
  };
}

/** What git and curl need to find their way in the lab whatever the caller's shell has set: its CA, and no proxy. */
function programEnv(caFile: string): { readonly [name: string]: string } {
  const proxies = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
  return { GIT_SSL_CAINFO: caFile, CURL_CA_BUNDLE: caFile, ...Object.fromEntries(proxies.map((name) => [name, ""])) };
}

function startNameServer(
  namespace: string,
  files: NameServerFiles,
  logFile: string,
  env: { [name: string]: string },
): LabProcess {
  return startProcess(namespace, ["named", "-n", "1", "-f", "-c", files.configuration], { env, logFile });
}

async function waitForNameServer(call: CallServices, nameServer: LabProcess, logFile: string): Promise<void> {
  let ended = false;
  void nameServer.exited.then(() => {
    ended = true;
  });
  for (let attempt = 0; attempt < 100 && !ended; attempt += 1) {
    if ((await call("dns.ask", { name: "ns.lab.test", type: "A" })) !== null) return;
    await sleepMs(20);
  }
  throw new Error(`the lab's named does not answer; see ${logFile}`);
}

async function waitForSerial(call: CallServices, serial: number): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const answers = (await call("dns.ask", { name: movingZone, type: "SOA" })) as { serial: number }[] | null;
    if (answers?.[0]?.serial === serial) return;
    await sleepMs(20);
  }
  throw new Error(`the lab's named has not loaded serial ${serial} of ${movingZone}`);
}

/** `ip netns exec` puts these in place of /etc/resolv.conf, for people who look round in the lab. */
async function writeResolvers(namespace: (node: LabNode) => string): Promise<void> {
  const resolvers: readonly (readonly [LabNode, string])[] = [
    ...clientNodes.map((node) => [node, gatewayOf(node).v4] as const),
    ["gateway", addresses.dns.v4],
    ["internet", addresses.dns.v4],
  ];
  await Promise.all(
    resolvers.map(async ([node, address]) => {
      const folder = join("/etc/netns", namespace(node));
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, "resolv.conf"), `nameserver ${address}\n`);
    }),
  );
}
