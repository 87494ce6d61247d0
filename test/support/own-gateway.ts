import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type RunResult, runChecked } from "../../agent/host/run.ts";
import type { Lab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { API_UID, installProgram } from "./gateway.ts";

/** A gateway without a forge: its own repository is what it follows. */
export interface OwnGateway {
  readonly configFile: string;
  readonly folder: string;
  /** The bare repository. */
  readonly repository: string;
  /** Runs a verb of the program on the gateway; the configuration is named. */
  readonly clawgress: (argv: readonly string[], timeoutMs?: number) => Promise<RunResult>;
  readonly start: () => LabProcess;
  readonly log: () => Promise<readonly { readonly event: string; readonly [key: string]: unknown }[]>;
  /** Calls the API with curl, as people do; returns the status and the answer. */
  readonly curl: (
    argv: readonly string[],
  ) => Promise<{ readonly status: number; readonly body: ApiAnswer; readonly text: string }>;
  /** Makes an API key. */
  readonly key: (name: string, scope?: string) => Promise<string>;
  /** `http://127.0.0.1:8420` */
  readonly url: string;
}

export interface ApiAnswer {
  readonly success: boolean;
  readonly data: { readonly [key: string]: unknown } | null;
  readonly error: string | null;
}

const PORT = 8420;
const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** Sets up a gateway in a lab that follows its own repository, with the API on a port of loopback. It does not run yet. */
export async function setUpOwnGateway(
  lab: Lab,
  more: { readonly [section: string]: unknown } = {},
): Promise<OwnGateway> {
  const folder = join(lab.folder, "gateway");
  const program = await installProgram(join(lab.folder, "program"));
  const config = {
    version: 1,
    gateway: "gw-own",
    poll: { schedule: "* * * * * *", jitterMs: 0 },
    interfaces: { clients: ["lan0", "lan1"], upstream: ["wan0"] },
    lifeline: ["10.99.0.0/24", "fd99::/64"],
    dns: { upstreams: [lab.addresses.dns.v4], validation: "yes", trustAnchorsFile: lab.trustAnchorsFile },
    gate: { user: "64053" },
    proxy: { user: "64054" },
    health: { namespace: `${lab.prefix}probe`, confirmTimeoutMs: 30_000 },
    paths: { state: join(folder, "state"), run: join(folder, "run") },
    ...more,
    api: { user: API_UID, port: PORT, requestsPerMinute: 100_000, ...(more["api"] as object | undefined) },
  };
  await mkdir(folder, { recursive: true });
  const configFile = join(folder, "agent.json");
  await writeFile(configFile, `${JSON.stringify(config, null, 2)}\n`);
  const logFile = join(folder, "agent.log");
  const clawgress: OwnGateway["clawgress"] = (argv, timeoutMs = 60_000) =>
    lab.exec("gateway", [process.execPath, program, ...argv, "--config", configFile], { timeoutMs });
  await runChecked([process.execPath, program, "init", "--gateway", "--config", configFile], { timeoutMs: 30_000 });
  return {
    ...{ configFile, folder, clawgress },
    repository: join(folder, "state", "own", "policy.git"),
    url: `http://127.0.0.1:${PORT}`,
    start: () => lab.spawn("gateway", [process.execPath, program, "run", "--config", configFile], { logFile }),
    log: async () =>
      (await readFile(logFile, "utf8").catch(() => ""))
        .split("\n")
        .flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as { readonly event: string }] : [])),
    curl: async (argv) => {
      const { stdout, stderr } = await lab.exec(
        "gateway",
        ["curl", "-sS", "--max-time", "120", "-w", "\n%{http_code}", ...argv],
        { timeoutMs: 130_000 },
      );
      const end = stdout.lastIndexOf("\n");
      const text = stdout.slice(0, end);
      const status = Number(stdout.slice(end + 1));
      try {
        return { status, text, body: JSON.parse(text) as ApiAnswer };
      } catch {
        return { status, text, body: { success: false, data: null, error: `no JSON: ${text}${stderr}` } };
      }
    },
    key: async (name, scope = "operate") => {
      const result = await clawgress(["key", "add", name, "--scope", scope, "--json"]);
      return (JSON.parse(result.stdout) as { readonly key: string }).key;
    },
  };
}

/** The README that the project began with. */
export const seedReadme = async (): Promise<string> =>
  await readFile(join(root, "test", "fixtures", "seed-readme.md"), "utf8");
