import { mkdir, mkdtemp } from "node:fs/promises";
import { dirname, join } from "node:path";
import { runChecked } from "../../agent/host/run.ts";
import type { CallServices } from "./services.ts";

/** A repository that the lab's Git server serves. */
export interface LabRepository {
  /** `name` or `owner/name` */
  readonly name: string;
  readonly url: string;
  /** Path of the bare repository. */
  readonly path: string;
  /** Makes a working clone whose `origin` is the bare repository's path, and returns its path. Branch: `main`. */
  readonly clone: () => Promise<string>;
}

/** Part of a conversation: the first request, the list of references, or the pack. */
export type GitStep = "any" | "info-refs" | "ls-refs" | "fetch";

/** What the Git server does wrong. */
export type GitFault =
  | { readonly kind: "status"; readonly status: 401 | 403 | 404 | 429 | 500 | 502 | 503 }
  | { readonly kind: "redirect"; readonly location?: string }
  | { readonly kind: "html" | "empty" | "reset" | "silence" | "endless" }
  | { readonly kind: "cut" | "truncate" | "slow" | "flip" };

export interface GitFaultOptions {
  /** Default `any`, for `flip` `fetch`. */
  readonly step?: GitStep;
  /** How many requests are hit; default: all until `fault(null)`. */
  readonly times?: number;
}

export interface GitRequest {
  readonly method: string;
  readonly path: string;
  readonly step: GitStep;
  /** 0 while unanswered. */
  readonly status: number;
  readonly from: string;
}

export interface GitCounters {
  readonly connections: number;
  /** Bytes on the TCP connections in both directions, TLS included. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly requests: readonly GitRequest[];
}

/** The Git server `git.lab.test`. Counters begin at the last `lab.mark()`. */
export interface LabGit {
  readonly host: string;
  /** Password of any user name (Basic), or Bearer token. */
  readonly token: string;
  readonly createRepository: (name: string) => Promise<LabRepository>;
  readonly fault: (fault: GitFault | null, options?: GitFaultOptions) => Promise<void>;
  readonly requireToken: (on: boolean) => Promise<void>;
  readonly counters: () => Promise<GitCounters>;
  /** Cuts every open connection, as a restart of the server would. */
  readonly dropConnections: () => Promise<void>;
}

const timeoutMs = 20_000;

/** Variables under which git reads no configuration but the repository's own and always has an author. */
export const gitEnv: { readonly [name: string]: string } = {
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_TERMINAL_PROMPT: "0",
  GIT_AUTHOR_NAME: "Lab",
  GIT_AUTHOR_EMAIL: "lab@lab.test",
  GIT_COMMITTER_NAME: "Lab",
  GIT_COMMITTER_EMAIL: "lab@lab.test",
};

/** Makes an empty bare repository below `root` with the branch `main`, served under its name. @throws AgentError HOST_COMMAND */
export async function createRepository(
  root: string,
  clones: string,
  host: string,
  name: string,
): Promise<LabRepository> {
  if (!/^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/.test(name))
    throw new Error(`"${name}" is not a repository name: use name or owner/name`);
  const path = join(root, `${name}.git`);
  await mkdir(dirname(path), { recursive: true });
  const git = (...args: string[]): Promise<string> => runChecked(["git", ...args], { timeoutMs, env: gitEnv });
  await git("init", "--quiet", "--bare", "--initial-branch=main", path);
  await git("-C", path, "config", "uploadpack.allowFilter", "true");
  await git("-C", path, "config", "uploadpack.allowAnySHA1InWant", "true");
  const clone = async (): Promise<string> => {
    const folder = await mkdtemp(join(clones, `${name.replace("/", "-")}-`));
    await git("clone", "--quiet", path, folder);
    await git("-C", folder, "config", "user.name", "Lab");
    await git("-C", folder, "config", "user.email", "lab@lab.test");
    // An empty repository may leave the clone on another default branch.
    await git("-C", folder, "symbolic-ref", "HEAD", "refs/heads/main");
    return folder;
  };
  return { name, url: `https://${host}/${name}.git`, path, clone };
}

const withoutAnswer: readonly string[] = ["status", "redirect", "html", "empty", "reset", "silence", "endless"];

/** Sets or clears the Git server's fault. */
export async function setGitFault(call: CallServices, fault: GitFault | null, options: GitFaultOptions): Promise<void> {
  const step = options.step ?? (fault?.kind === "flip" ? "fetch" : "any");
  const when = fault !== null && withoutAnswer.includes(fault.kind) ? "before" : "after";
  await call("git.fault", { fault: fault && { ...fault, step, when, times: options.times ?? null } });
}
