import { join } from "node:path";
import { AgentError } from "../errors.ts";
import { readHead } from "../host/bare-repository.ts";
import { nowMs } from "../host/clock.ts";
import { writePassed } from "../host/clock-store.ts";
import { readFileBytes, replaceFile } from "../host/files.ts";
import { initialisePointers } from "../host/pointer-store.ts";
import { hasEntries } from "../host/trust-store.ts";
import { isWithin } from "../host/work-tree.ts";
import { formatTextIssue } from "../policy/json-text.ts";
import { quoteText } from "../policy/parsed.ts";
import { pathsOf } from "../settings/paths.ts";
import { commitOwnPolicy, initOwnRepository } from "../source/own-repository.ts";
import { digestOf, LOCK_PATH, type Lock, renderLock } from "../trust/lock.ts";
import { parseLock } from "../trust/parse-lock.ts";
import { parseRoot } from "../trust/parse-root.ts";
import { rootPath } from "../trust/root.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";
import { POLICY_PATH } from "./plan-lock.ts";

export interface InitOptions {
  /** Makes the state of the gateway that `config` describes, instead of a repository. */
  readonly gateway?: boolean;
  readonly config: string;
  readonly repositoryFolder?: string;
  /** The opaque name that locks and gateways carry. */
  readonly name?: string;
  /** `alice=alice.pub`, once for each key; a name may come several times. */
  readonly principal?: readonly string[];
  /** How many must approve; default: all when there are one or two people, else two. */
  readonly threshold?: number;
  readonly group: string;
  readonly branch: string;
}

const MAX_KEY_BYTES = 32 * 1024;
/** Nothing is open until somebody writes and approves what is. */
const FIRST_POLICY = '{\n  "version": 1,\n  "mode": "deny-all"\n}\n';
/** Git must store the bytes that were signed. */
const ATTRIBUTES = "* -text\n";

/** Starts a gateway's state or a policy repository; returns 0. @throws AgentError USAGE when neither is named, or both */
export async function init(options: InitOptions, output: Output): Promise<number> {
  const { gateway = false, config, repositoryFolder, name } = options;
  if (gateway && repositoryFolder === undefined) return await initGateway(config, output);
  const principals = options.principal ?? [];
  if (gateway || repositoryFolder === undefined || name === undefined || principals.length === 0) {
    throw new AgentError("USAGE", "say what to start", {
      remedy:
        "init --gateway --config FILE, or init --repository-folder DIR --name NAME --principal alice=alice.pub --principal bob=bob.pub",
    });
  }
  const { branch, group, threshold } = options;
  return await initRepository(
    { repositoryFolder, name, principals, threshold: threshold ?? null, group, branch },
    output,
  );
}

interface RepositoryOptions {
  readonly repositoryFolder: string;
  readonly name: string;
  readonly principals: readonly string[];
  readonly threshold: number | null;
  readonly group: string;
  readonly branch: string;
}

/**
 * Makes a policy repository in a folder: the root of trust, a policy that denies everything, and a first lock that
 * waits for its approvals. Returns 0. @throws AgentError USAGE when something of it exists or an option is wrong
 */
async function initRepository(options: RepositoryOptions, output: Output): Promise<number> {
  const { repositoryFolder: folder } = options;
  const principals = await readPrincipals(options.principals);
  const threshold = options.threshold ?? Math.min(2, principals.size);
  const rootBytes = renderRoot(options.name, threshold, principals);
  const root = parseRoot(rootBytes, rootPath(1));
  if (!root.ok) {
    throw new AgentError("USAGE", root.issues.map(formatTextIssue).join("\n"), {
      remedy: "correct --name, --principal or --threshold",
    });
  }
  const files = { [POLICY_PATH]: digestOf(Buffer.from(FIRST_POLICY)) };
  const { name: repository, branch, group } = options;
  const lock: Lock = { version: 1, repository, branch, group, serial: 1, files };
  const lockBytes = renderLock(lock);
  const parsed = parseLock(lockBytes);
  if (!parsed.ok) throw new AgentError("USAGE", parsed.issues.map(formatTextIssue).join("\n"));

  const contents: readonly (readonly [string, string | Buffer])[] = [
    [".gitattributes", ATTRIBUTES],
    [rootPath(1), rootBytes],
    [POLICY_PATH, FIRST_POLICY],
    [LOCK_PATH, lockBytes],
  ];
  for (const [path] of contents) {
    if (!(await isWithin(folder, path))) continue;
    throw new AgentError("USAGE", `${join(folder, path)} exists already`, {
      remedy: "use an empty folder; to change a policy that exists, edit it and run `clawgress sign`",
    });
  }
  for (const [path, bytes] of contents) await replaceFile(join(folder, path), bytes);

  const names = root.root.principals.map((principal) => principal.name);
  const written = contents.map(([path]) => path);
  for (const path of written) output.line(`wrote ${join(folder, path)}`);
  output.line(
    `${threshold} of ${names.join(", ")} must approve. Next: edit ${POLICY_PATH}, commit, and run \`clawgress sign\`.`,
  );
  output.line(
    `Install ${rootPath(1)} on every gateway as its root of trust, by a way that does not lead through the Git server.`,
  );
  output.document({ folder, written: [...written], principals: [...names], threshold, serial: 1 });
  return 0;
}

/**
 * Gives a gateway its empty state: nothing verified, nothing confirmed. Done once, at installation; returns 0.
 * @throws AgentError SETTINGS_INVALID, STATE_CORRUPT when the gateway has a state already
 */
async function initGateway(config: string, output: Output): Promise<number> {
  const settings = await loadSettings(config);
  const { pointers, releases, trust, clock, own } = pathsOf(settings);
  for (const folder of [releases, trust]) {
    if (!(await hasEntries(folder))) continue;
    throw new AgentError("STATE_CORRUPT", `${folder} is in use: this gateway was initialised before`, {
      remedy:
        "if its pointers are lost, `clawgress recover` says how to go on; starting again would open the way to every old serial",
    });
  }
  const isOwn = settings.repository.url === null;
  // Before the pointers: their presence says that all of it is there.
  if (isOwn) {
    await initOwnRepository(own, settings.repository);
    const first = { policy: Buffer.from(FIRST_POLICY), by: "init", reason: "deny all", atMs: nowMs() };
    if (await isEmpty(own.repository, settings.repository.branch)) {
      await commitOwnPolicy(own, settings.repository, settings.gateway, first);
    }
  }
  await initialisePointers(pointers, { gateway: settings.gateway, repository: settings.repository.name });
  await writePassed(clock, nowMs());
  output.line(`${pointers} holds the empty start: the first approved serial, whatever it is, will be accepted.`);
  output.line(
    `The clock of this machine says ${new Date(nowMs()).toISOString()}: earlier times will not be believed from now on.`,
  );
  if (isOwn) {
    output.line(`${own.repository} is this gateway's own policy repository; ${own.key} signs what is committed to it.`);
    output.line("Everything is denied until you run `clawgress policy import file PATH`.");
  }
  output.document({ gateway: settings.gateway, pointers, repository: isOwn ? own.repository : null });
  return 0;
}

async function isEmpty(repository: string, branch: string): Promise<boolean> {
  return (await readHead(repository, branch)) === null;
}

async function readPrincipals(options: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
  const principals = new Map<string, readonly string[]>();
  for (const option of options) {
    const [, name, path] = /^([^=]+)=(.+)$/s.exec(option) ?? [];
    if (name === undefined || path === undefined) {
      throw new AgentError("USAGE", `${quoteText(option)} is not of the form name=file.pub`);
    }
    const line = (await readFileBytes(path, MAX_KEY_BYTES)).toString("utf8").trim();
    principals.set(name, [...(principals.get(name) ?? []), line]);
  }
  return principals;
}

function renderRoot(repository: string, threshold: number, principals: ReadonlyMap<string, readonly string[]>): Buffer {
  const role = { principals: [...principals.keys()], threshold };
  const root = {
    version: 1,
    root: 1,
    repository,
    principals: Object.fromEntries([...principals].map(([name, keys]) => [name, { keys }])),
    roles: { policy: role, root: role },
  };
  return Buffer.from(`${JSON.stringify(root, null, 2)}\n`);
}
