import { existsSync } from "node:fs";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ApplyStep, CycleStep } from "../../agent/apply/step.ts";
import { monotonicMs, sleepMs } from "../../agent/host/clock.ts";
import { type RunResult, runChecked } from "../../agent/host/run.ts";
import type { Lab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import type { LabRepository } from "../lab/repositories.ts";
import type { PostedStatus } from "../lab/statuses.ts";
import { PATIENCE } from "./eventually.ts";

/** A JSON policy as a test writes it. */
export type PolicyText = { readonly [key: string]: unknown } | string;

/** A gateway with our agent in a lab: its configuration, its policy repository, and the people who sign. */
export interface TestGateway {
  readonly configFile: string;
  readonly folder: string;
  readonly clone: string;
  readonly repository: LabRepository;
  /** Private key files of the people in the root of trust (`alice`, `bob`) and of a stranger (`mallory`). */
  readonly keys: { readonly [person: string]: string };
  /** Commits a policy, signed by some of them, and pushes it. Returns the commit. */
  readonly commit: (policy: PolicyText, options?: CommitOptions) => Promise<string>;
  /** The commit that was pushed last. */
  readonly head: () => Promise<string>;
  /** Runs a verb of the program on the gateway. */
  readonly clawgress: (argv: readonly string[], timeoutMs?: number) => Promise<RunResult>;
  /** Runs `clawgress sync --json` and returns its document. */
  readonly sync: () => Promise<SyncDocument>;
  /** The folder that the program is installed in. */
  readonly program: string;
  /** Starts `clawgress run`, or the agent with a fault, and returns the process. */
  readonly start: (fault?: Fault) => LabProcess;
  readonly log: () => Promise<readonly LogLine[]>;
  /** Resolves with the last status of a commit when it has one of the given states. */
  readonly awaitStatus: (commit: string, states: readonly PostedStatus["state"][]) => Promise<PostedStatus>;
}

/** What happens to the agent once, before or after a step of its first apply: @see test/faults/agent.ts. */
export interface Fault {
  readonly step: ApplyStep | CycleStep;
  readonly moment: "before" | "after";
  readonly do: "kill" | "stop" | "race" | "wait";
  /** When it goes on: with `race`, relative to the revert timer's deadline; with `wait`, from now. */
  readonly jitterMs?: number;
  /** A file that is made when the fault comes. */
  readonly marker?: string;
}

export interface SyncDocument {
  readonly ok: boolean;
  readonly outcome: string;
  readonly commit: string | null;
  readonly code?: string;
  readonly message?: string;
}

export interface LogLine {
  readonly event: string;
  readonly [key: string]: unknown;
}

export interface CommitOptions {
  readonly signers?: readonly string[];
  readonly message?: string;
  /** Changes the clone just before the commit: to tamper, to add files. */
  readonly tamper?: (clone: string) => Promise<void>;
}

/** A root of trust as it stands in its file. */
export interface RootText {
  readonly principals: { readonly [name: string]: object };
  readonly roles: { readonly policy: { readonly principals: readonly string[] } };
  readonly [key: string]: unknown;
}

export interface GatewayOptions {
  readonly policy: PolicyText;
  readonly threshold?: number;
  /** More people who have keys. */
  readonly people?: readonly string[];
  /** Returns the first root of trust as it should be; it is told everybody's public key. */
  readonly reviseRoot?: (root: RootText, publicKeys: { readonly [person: string]: string }) => RootText;
  /** Merged over the defaults of agent.json, one level deep. */
  readonly config?: { readonly [section: string]: unknown };
}

/** Users that exist on no machine: only the gate and the proxy run as them. */
const GATE_UID = "64053";
const PROXY_UID = "64054";
export const API_UID = "64055";
const root = findRoot(dirname(fileURLToPath(import.meta.url)));

/**
 * Sets up a gateway in a lab: installs the program where other users can read it, makes keys, a root of trust and a
 * repository with a first signed commit, writes agent.json and makes the state. The agent does not run yet.
 */
export async function setUpGateway(lab: Lab, options: GatewayOptions): Promise<TestGateway> {
  const folder = join(lab.folder, "gateway");
  const program = await installProgram(join(lab.folder, "program"));
  const keys = await makeKeys(join(lab.folder, "keys"), ["alice", "bob", "mallory", ...(options.people ?? [])]);
  const repository = await lab.git.createRepository("acme/egress");
  const clone = await repository.clone();
  const git = (...argv: string[]): Promise<string> =>
    runChecked(["git", "-C", clone, ...argv], { timeoutMs: 20_000 * PATIENCE });
  const cli = (...argv: string[]): Promise<string> =>
    runChecked([process.execPath, program, ...argv], { timeoutMs: 30_000 * PATIENCE });

  await git("config", "user.name", "Lab");
  await git("config", "user.email", "lab@example.test");
  const people = ["alice", "bob"].flatMap((name) => ["--principal", `${name}=${keys[name]}.pub`]);
  const threshold = String(options.threshold ?? 2);
  await cli("init", "--repository-folder", clone, "--name", "acme-egress", ...people, "--threshold", threshold);

  if (options.reviseRoot !== undefined) await reviseRoot(join(clone, "trust", "1.json"), keys, options.reviseRoot);
  const configFile = await writeConfig(lab, folder, clone, repository, options.config ?? {});
  await cli("init", "--gateway", "--config", configFile);

  const logFile = join(folder, "agent.log");
  const head = async (): Promise<string> => (await git("rev-parse", "HEAD")).trim();
  const commit: TestGateway["commit"] = async (policy, { signers = ["alice", "bob"], message, tamper } = {}) => {
    const text = typeof policy === "string" ? policy : `${JSON.stringify(policy, null, 2)}\n`;
    await writeFile(join(clone, "policy.json"), text);
    // Tests go from one policy to quite another one.
    const sign = ["sign", "--repository-folder", clone, "--accept-removal", "--key"];
    for (const person of signers) await cli(...sign, keys[person] ?? person);
    await tamper?.(clone);
    await git("add", "-A");
    await git("commit", "--quiet", "--allow-empty", "-m", message ?? "change the policy");
    await git("push", "--quiet", "origin", "HEAD:main");
    return await head();
  };
  const clawgress: TestGateway["clawgress"] = (argv, timeoutMs = 60_000 * PATIENCE) =>
    lab.exec("gateway", [process.execPath, program, ...argv], { timeoutMs });
  await commit(options.policy, { message: "the first policy" });

  return {
    ...{ configFile, folder, clone, repository, keys, commit, head, clawgress, program: dirname(program) },
    sync: async () => {
      const result = await clawgress(["sync", "--json", "--config", configFile]);
      await writeFile(logFile, result.stderr, { flag: "a" });
      try {
        return JSON.parse(result.stdout) as SyncDocument;
      } catch {
        throw new Error(`sync printed no document (exit ${result.exitCode}): ${result.stdout}${result.stderr}`);
      }
    },
    start: (fault) => {
      const argv =
        fault === undefined ? [program, "run"] : [join(dirname(program), "faulty-agent.mjs"), ...flags(fault)];
      return lab.spawn("gateway", [process.execPath, ...argv, "--config", configFile], { logFile });
    },
    log: async () => parseLog(await readFile(logFile, "utf8")),
    awaitStatus: (sha, states) => awaitStatus(lab, sha, states),
  };
}

function flags({ step, moment, do: what, jitterMs = 0, marker = "" }: Fault): readonly string[] {
  return ["--step", step, "--moment", moment, "--do", what, `--jitter=${jitterMs}`, `--marker=${marker}`];
}

/** Copies dist/ and the native library to where the gate's user can read them: a checkout may be root's alone. */
export async function installProgram(folder: string): Promise<string> {
  await mkdir(join(folder, "node_modules"), { recursive: true });
  await cp(join(root, "dist"), join(folder, "dist"), { recursive: true });
  for (const name of ["koffi", "@koromix"]) {
    const from = join(root, "node_modules", name);
    if (existsSync(from)) await cp(from, join(folder, "node_modules", name), { recursive: true });
  }
  await runChecked(["chmod", "-R", "a+rX", folder], { timeoutMs: 10_000 * PATIENCE });
  return join(folder, "dist", "clawgress.mjs");
}

async function makeKeys(folder: string, people: readonly string[]): Promise<{ [person: string]: string }> {
  await mkdir(folder, { recursive: true });
  const keys: { [person: string]: string } = {};
  for (const person of people) {
    const path = join(folder, person);
    await runChecked(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", person, "-f", path], {
      timeoutMs: 10_000 * PATIENCE,
    });
    keys[person] = path;
  }
  return keys;
}

async function reviseRoot(
  file: string,
  keys: TestGateway["keys"],
  revise: NonNullable<GatewayOptions["reviseRoot"]>,
): Promise<void> {
  const publicKeys: { [person: string]: string } = {};
  for (const [person, path] of Object.entries(keys)) {
    publicKeys[person] = (await readFile(`${path}.pub`, "utf8")).trim();
  }
  const root = JSON.parse(await readFile(file, "utf8")) as RootText;
  await writeFile(file, `${JSON.stringify(revise(root, publicKeys), null, 2)}\n`);
}

async function writeConfig(
  lab: Lab,
  folder: string,
  clone: string,
  repository: LabRepository,
  overrides: { readonly [section: string]: unknown },
): Promise<string> {
  const gitTokenFile = join(folder, "git.token");
  const statusTokenFile = join(folder, "status.token");
  const rootFile = join(folder, "root.json");
  await mkdir(folder, { recursive: true });
  await writeFile(gitTokenFile, `${lab.git.token}\n`, { mode: 0o600 });
  await writeFile(statusTokenFile, `${lab.statuses.token}\n`, { mode: 0o600 });
  await writeFile(rootFile, await readFile(join(clone, "trust", "1.json")));
  const defaults: { readonly [section: string]: unknown } = {
    version: 1,
    gateway: "gw-lab",
    repository: {
      url: repository.url,
      name: "acme-egress",
      caFile: lab.caFile,
      tokenFile: gitTokenFile,
      timeoutMs: 10_000 * PATIENCE,
    },
    poll: { schedule: "* * * * * *", jitterMs: 0 },
    trust: { root: rootFile },
    interfaces: { clients: ["lan0", "lan1"], upstream: ["wan0"] },
    lifeline: ["10.99.0.0/24", "fd99::/64"],
    dns: { upstreams: [lab.addresses.dns.v4], validation: "yes", trustAnchorsFile: lab.trustAnchorsFile },
    gate: { user: GATE_UID },
    proxy: { user: PROXY_UID },
    // Nothing listens unless a test gives a port; the decisions are stored all the same.
    api: { user: API_UID },
    health: { namespace: `${lab.prefix}probe`, confirmTimeoutMs: 30_000 * PATIENCE },
    report: {
      github: { api: lab.statuses.api, repository: repository.name, tokenFile: statusTokenFile, caFile: lab.caFile },
    },
    paths: { state: join(folder, "state"), run: join(folder, "run") },
  };
  const config: { [section: string]: unknown } = { ...defaults };
  for (const [section, value] of Object.entries(overrides)) {
    const base = config[section];
    const isSection = typeof base === "object" && base !== null && !Array.isArray(base);
    config[section] = isSection ? { ...base, ...(value as object) } : value;
  }
  const configFile = join(folder, "agent.json");
  await writeFile(configFile, `${JSON.stringify(config, null, 2)}\n`);
  return configFile;
}

async function awaitStatus(lab: Lab, sha: string, states: readonly PostedStatus["state"][]): Promise<PostedStatus> {
  const deadlineMs = monotonicMs() + 20_000 * PATIENCE;
  while (monotonicMs() < deadlineMs) {
    const last = (await lab.statuses.posted()).filter((status) => status.sha === sha).at(-1);
    if (last !== undefined && states.includes(last.state)) return last;
    await sleepMs(50);
  }
  const posted = await lab.statuses.posted();
  throw new Error(`no ${states.join(" or ")} status of ${sha}; posted: ${JSON.stringify(posted.slice(-5))}`);
}

function parseLog(text: string): readonly LogLine[] {
  return text.split("\n").flatMap((line) => {
    try {
      return line.startsWith("{") ? [JSON.parse(line) as LogLine] : [];
    } catch {
      return [];
    }
  });
}

function findRoot(folder: string): string {
  return existsSync(join(folder, "package.json")) ? folder : findRoot(dirname(folder));
}
