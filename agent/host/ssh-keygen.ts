import { mkdtemp, readdir, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { AgentError } from "../errors.ts";
import { compareTexts } from "../policy/compare-texts.ts";
import { readFileIfAny, replaceFile } from "./files.ts";
import { run, runChecked } from "./run.ts";

/** Long enough to find the security key and touch it. */
const SIGN_TIMEOUT_MS = 120_000;
const LIST_TIMEOUT_MS = 10_000;
const MAX_KEY_BYTES = 32 * 1024;

/** A key that may sign: its public line, and the file to name to ssh-keygen (null: the agent alone has it). */
export interface KeyCandidate {
  readonly publicLine: string;
  readonly file: string | null;
  /** Where it was found, for people. */
  readonly origin: string;
}

/** Returns the keys of the running ssh-agent; none when there is no agent. */
export async function listAgentKeys(): Promise<readonly KeyCandidate[]> {
  const result = await run(["ssh-add", "-L"], { timeoutMs: LIST_TIMEOUT_MS });
  if (result.exitCode !== 0) return [];
  const lines = result.stdout.split("\n").filter((line) => line !== "");
  return lines.map((publicLine) => ({ publicLine, file: null, origin: "ssh-agent" }));
}

/** Returns the public keys in `~/.ssh`, sorted by file name. */
export async function listHomeKeys(home = homedir()): Promise<readonly KeyCandidate[]> {
  const folder = join(home, ".ssh");
  const names = await readdir(folder).catch(() => []);
  const candidates: KeyCandidate[] = [];
  for (const name of names.filter((entry) => entry.endsWith(".pub")).sort(compareTexts)) {
    const path = join(folder, name);
    const publicLine = (await readFileIfAny(path, MAX_KEY_BYTES))?.toString("utf8").trim();
    if (publicLine !== undefined) candidates.push({ publicLine, file: path, origin: path });
  }
  return candidates;
}

/** Returns the key in a file that the user names: a public key, or a private one with its `.pub` beside it or without. @throws AgentError USAGE */
export async function readKeyFile(path: string): Promise<KeyCandidate> {
  const beside = path.endsWith(".pub") ? path : `${path}.pub`;
  const bytes = await readFileIfAny(beside, MAX_KEY_BYTES);
  if (bytes !== null) return { publicLine: bytes.toString("utf8").trim(), file: path, origin: beside };
  const derived = await run(["ssh-keygen", "-y", "-f", path], { timeoutMs: SIGN_TIMEOUT_MS });
  if (derived.exitCode === 0) return { publicLine: derived.stdout.trim(), file: path, origin: path };
  const reason = derived.stderr.trim().split("\n").at(-1) ?? "";
  throw new AgentError("USAGE", `${path} is not a key that ssh-keygen can use: ${reason}`, {
    remedy: "name a private key, its .pub file, or `agent`",
  });
}

/**
 * Makes an Ed25519 key without a passphrase in a file that only its owner reads, unless one is there; returns its public line.
 * @throws AgentError HOST_COMMAND, HOST_MISSING without ssh-keygen
 */
export async function makeSshKey(path: string, comment: string): Promise<string> {
  const known = await readFileIfAny(path, MAX_KEY_BYTES);
  if (known === null) {
    await runChecked(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path], {
      timeoutMs: SIGN_TIMEOUT_MS,
    });
  }
  return (await readKeyFile(path)).publicLine;
}

/**
 * Returns the armored signature of the message by `ssh-keygen -Y sign`, which asks for passphrases on the terminal
 * itself and talks to ssh-agent for keys that are not on disk.
 * @throws AgentError TRUST_SIGNING_FAILED
 */
export async function signWithSshKeygen(key: KeyCandidate, namespace: string, message: Buffer): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), "clawgress-sign-"));
  try {
    const file = key.file ?? join(folder, "key.pub");
    if (key.file === null) await replaceFile(file, `${key.publicLine}\n`, 0o600);
    const argv = ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", file] as const;
    const result = await run(argv, { timeoutMs: SIGN_TIMEOUT_MS, stdin: message });
    if (result.exitCode === 0) return result.stdoutBytes;
    const reason = result.stderr.replace("Signing data on standard input", "").trim();
    throw new AgentError("TRUST_SIGNING_FAILED", `ssh-keygen could not sign with ${key.origin}: ${reason}`, {
      remedy: "load the key into ssh-agent (ssh-add), or name the private key with --key",
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
