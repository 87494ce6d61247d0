import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeRepository, type TestRepository } from "./git-repository.ts";
import { makeSecurityKey, makeSshKey, type SshKeyFiles } from "./ssh-keys.ts";

/** A commit made by real tools, and what Git itself says of it. */
export interface SignedCommitSample {
  readonly name: string;
  readonly raw: Buffer;
  /** Whether `git verify-commit` is content. */
  readonly git: boolean;
}

export interface SignedCommits {
  readonly repository: TestRepository;
  readonly samples: ReadonlyMap<string, SignedCommitSample>;
  /** Public lines of SSH keys, by the name of the person. */
  readonly sshKeys: { readonly [person: string]: readonly string[] };
  /** Certificates in base64, by the name of the person. */
  readonly openPgpKeys: { readonly [person: string]: readonly string[] };
  /** Stores an object exactly as given and returns whether `git verify-commit` is content with it. */
  readonly askGit: (raw: Buffer) => boolean;
  /** Signs a payload with Alice's SSH key and returns the commit with the signature as its last header. */
  readonly signBySsh: (payload: Buffer | string) => Buffer;
  readonly remove: () => void;
}

/** Puts a signature into a commit as Git does: as the last header, each further line behind a space. */
export function insertSignature(payload: Buffer, armored: Buffer): Buffer {
  const end = payload.indexOf("\n\n") + 1;
  const lines = armored.toString("latin1").replace(/\n$/, "").split("\n").join("\n ");
  return Buffer.concat([payload.subarray(0, end), Buffer.from(`gpgsig ${lines}\n`, "latin1"), payload.subarray(end)]);
}

/** Makes signed commits of every kind with the real `git`, `ssh-keygen` and `gpg`, in a repository and a key ring of their own. */
export function makeSignedCommits(): SignedCommits {
  const repository = makeRepository();
  const folder = mkdtempSync(join(tmpdir(), "cgs-"));
  const gpg = openKeyRing(folder);
  const samples = new Map<string, SignedCommitSample>();
  const ssh = (name: string, type: string, bits?: number): SshKeyFiles => makeSshKey(folder, name, type, bits);
  const sshKeys = {
    alice: ssh("alice", "ed25519"),
    rsa: ssh("rsa", "rsa", 3072),
    p256: ssh("p256", "ecdsa", 256),
    p384: ssh("p384", "ecdsa", 384),
    p521: ssh("p521", "ecdsa", 521),
    stranger: ssh("stranger", "ed25519"),
  };
  const securityKey = makeSecurityKey("ed25519");
  const trusted = [...Object.values(sshKeys).filter((key) => key !== sshKeys.stranger), securityKey];
  const allowed = join(folder, "allowed_signers");
  writeFileSync(allowed, trusted.map(({ publicLine }) => `ada@example.org ${publicLine}\n`).join(""));

  const config = (more: readonly string[]): readonly string[] =>
    [`gpg.ssh.allowedSignersFile=${allowed}`, ...more].flatMap((entry) => ["-c", entry]);
  const bySsh = (key: SshKeyFiles): readonly string[] => config(["gpg.format=ssh", `user.signingkey=${key.path}`]);
  const byGpg = (user: string, program = gpg.program): readonly string[] =>
    config(["gpg.format=openpgp", `gpg.program=${program}`, `user.signingkey=${user}`]);

  const run = (args: readonly string[], input: Buffer | string = "", more: { [name: string]: string } = {}): string =>
    execFileSync("git", ["--git-dir", repository.folder, ...args], {
      env: { ...process.env, ...identity, ...more },
      input,
      stdio: ["pipe", "pipe", "pipe"],
    })
      .toString("utf8")
      .trim();
  const rawOf = (oid: string): Buffer => repository.gitBytes(["cat-file", "commit", oid]);
  const askGitOf = (oid: string): boolean => {
    try {
      run([...config([`gpg.program=${gpg.program}`]), "verify-commit", oid]);
      return true;
    } catch {
      return false;
    }
  };
  const add = (name: string, oid: string): string => {
    samples.set(name, { name, raw: rawOf(oid), git: askGitOf(oid) });
    return oid;
  };
  const tree = repository.git(["mktree"], `100644 blob ${repository.writeObject("blob", "{}")}\tpolicy.json\n`);
  const sign = (how: readonly string[], message: Buffer | string, more: readonly string[] = []): string =>
    run([...how, "commit-tree", "-S", ...more, tree], message);

  const first = add("ssh ed25519", sign(bySsh(sshKeys.alice), "policy\n"));
  for (const name of ["rsa", "p256", "p384", "p521"] as const) {
    add(`ssh ${name}`, sign(bySsh(sshKeys[name]), "policy\n", ["-p", first]));
  }
  const plain = rawOf(run(["commit-tree", tree], "a key in hardware\n"));
  const bySecurityKey = (flags: number): string =>
    repository.writeObject("commit", insertSignature(plain, securityKey.sign(plain, "git", flags)));
  add("security key, touched", bySecurityKey(1));
  add("security key, not touched", bySecurityKey(0));
  add("an empty message", sign(bySsh(sshKeys.alice), ""));
  add("no newline at the end", sign(bySsh(sshKeys.alice), "no newline", ["-p", first]));
  add("carriage returns", sign(bySsh(sshKeys.alice), "one\r\ntwo\r\n"));
  add(
    "an encoding header",
    run(
      [...bySsh(sshKeys.alice), "-c", "i18n.commitEncoding=ISO-8859-1", "commit-tree", "-S", tree],
      Buffer.from("gr\xfc\xdfe\n", "latin1"),
    ),
  );
  add("a message with header lines", sign(bySsh(sshKeys.alice), `tree ${"1".repeat(40)}\ngpgsig x\n\nmore\n`));
  const second = add("openpgp ed25519", sign(byGpg(gpg.keys.ed25519), "policy\n", ["-p", first]));
  add("openpgp rsa", sign(byGpg(gpg.keys.rsa), "policy\n"));
  add("openpgp nistp256", sign(byGpg(gpg.keys.p256), "policy\n"));
  add("openpgp subkey", sign(byGpg(gpg.keys.subkey), "policy\n"));
  add("a merge", sign(bySsh(sshKeys.alice), "merge\n", ["-p", first, "-p", second]));
  const third = run(["commit-tree", tree], "third\n");
  add("an octopus", sign(bySsh(sshKeys.alice), "octopus\n", ["-p", first, "-p", second, "-p", third]));
  add("a merged tag", mergeTag(run, [...bySsh(sshKeys.alice)], { tree, first, second }));
  add("no signature", run(["commit-tree", tree], "unsigned\n"));
  add("a stranger's ssh key", sign(bySsh(sshKeys.stranger), "policy\n"));
  add("a stranger's openpgp key", sign(byGpg(gpg.keys.stranger), "policy\n"));
  add("an expired openpgp key, backdated", sign(byGpg(gpg.keys.expired, gpg.past), "policy\n"));
  add("openpgp over SHA-1", sign(byGpg(gpg.keys.rsa, gpg.sha1), "policy\n"));
  add("openpgp in text mode", sign(byGpg(gpg.keys.rsa, gpg.text), "policy\n"));
  const revoked = sign(byGpg(gpg.keys.revoked), "policy\n");
  gpg.revoke();
  add("a revoked openpgp key", revoked);
  gpg.forget(gpg.keys.stranger);
  add("a stranger's openpgp key", run(["rev-parse", idOf(samples.get("a stranger's openpgp key")?.raw)]));

  return {
    repository,
    samples,
    sshKeys: {
      alice: [sshKeys.alice.publicLine, sshKeys.rsa.publicLine],
      bob: [sshKeys.p256.publicLine, sshKeys.p384.publicLine],
      carol: [sshKeys.p521.publicLine, securityKey.publicLine],
    },
    openPgpKeys: {
      alice: [gpg.export(gpg.keys.ed25519), gpg.export(gpg.keys.rsa), gpg.export(gpg.keys.expired)],
      bob: [gpg.export(gpg.keys.p256), gpg.export(gpg.keys.subkey), gpg.export(gpg.keys.revoked)],
    },
    askGit: (raw) => askGitOf(repository.writeObject("commit", raw)),
    signBySsh: (payload) => {
      const bytes = Buffer.from(payload);
      const argv = ["-Y", "sign", "-q", "-n", "git", "-f", sshKeys.alice.path];
      return insertSignature(
        bytes,
        execFileSync("ssh-keygen", argv, { input: bytes, stdio: ["pipe", "pipe", "ignore"] }),
      );
    },
    remove: () => {
      gpg.close();
      rmSync(repository.folder, { recursive: true });
      rmSync(folder, { recursive: true });
    },
  };
}

const identity = {
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_CONFIG_SYSTEM: "/dev/null",
  GIT_AUTHOR_NAME: "Ada",
  GIT_AUTHOR_EMAIL: "ada@example.org",
  GIT_COMMITTER_NAME: "Ada",
  GIT_COMMITTER_EMAIL: "ada@example.org",
};

/** A merge of an annotated tag carries the tag, with its own signature, in the header `mergetag`. */
function mergeTag(
  run: (args: readonly string[], input?: Buffer | string) => string,
  how: readonly string[],
  { tree, first, second }: { readonly tree: string; readonly first: string; readonly second: string },
): string {
  run([...how, "tag", "-s", "-m", "a tag", "v1", second]);
  const tag = run(["cat-file", "tag", "v1"]).split("\n").join("\n ");
  const people = "Ada <ada@example.org> 1714521600 +0000";
  const payload = Buffer.from(
    `tree ${tree}\nparent ${first}\nparent ${second}\nauthor ${people}\ncommitter ${people}\nmergetag ${tag}\n\nMerge tag v1\n`,
  );
  const keyOption = how.find((entry) => entry.startsWith("user.signingkey=")) ?? "";
  const argv = ["-Y", "sign", "-q", "-n", "git", "-f", keyOption.slice("user.signingkey=".length)];
  const armored = execFileSync("ssh-keygen", argv, { input: payload, stdio: ["pipe", "pipe", "ignore"] });
  const raw = insertSignature(payload, armored);
  return run(["hash-object", "-t", "commit", "-w", "--stdin"], raw);
}

function idOf(raw: Buffer | undefined): string {
  const bytes = raw ?? Buffer.alloc(0);
  return execFileSync("git", ["hash-object", "-t", "commit", "--stdin", "--literally"], { input: bytes })
    .toString()
    .trim();
}

/** A key ring in a folder of its own; its agent ends with `close`. */
function openKeyRing(parent: string) {
  const home = mkdtempSync(join(parent, "g"));
  chmodSync(home, 0o700);
  const env = { ...process.env, GNUPGHOME: home };
  const call = (args: readonly string[], input = ""): string =>
    execFileSync("gpg", ["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", ...args], {
      env,
      input,
      stdio: ["pipe", "pipe", "pipe"],
    }).toString("utf8");
  const fingerprint = (user: string): string =>
    /^fpr:+([0-9A-F]{40}):/m.exec(call(["--with-colons", "--list-keys", user]))?.[1] ?? "";
  const make = (name: string, algorithm: string, expires = "never", when: readonly string[] = []): string => {
    const user = `${name} <${name}@example.org>`;
    call([...when, "--quick-generate-key", user, algorithm, "sign", expires]);
    return fingerprint(`${name}@example.org`);
  };
  const program = (name: string, ...options: readonly string[]): string => {
    const path = join(parent, name);
    const words = [
      "gpg",
      "--homedir",
      home,
      "--batch",
      "--pinentry-mode",
      "loopback",
      "--passphrase",
      "''",
      ...options,
    ];
    writeFileSync(path, `#!/bin/sh\nexec ${words.join(" ")} "$@"\n`, { mode: 0o755 });
    return path;
  };
  const past = ["--faked-system-time", "20200601T000000!"];
  const keys = {
    ed25519: make("ed25519", "ed25519"),
    rsa: make("rsa", "rsa3072"),
    p256: make("p256", "nistp256"),
    subkey: make("subkey", "ed25519"),
    stranger: make("stranger", "ed25519"),
    revoked: make("revoked", "ed25519"),
    expired: make("expired", "ed25519", "20210101T000000", past),
  };
  call(["--quick-add-key", keys.subkey, "ed25519", "sign", "never"]);
  return {
    keys,
    program: program("gpg-now"),
    past: program("gpg-past", ...past),
    sha1: program("gpg-sha1", "--digest-algo", "SHA1"),
    text: program("gpg-text", "--textmode"),
    export: (key: string): string =>
      execFileSync("gpg", ["--batch", "--export", key], { env, stdio: ["ignore", "pipe", "pipe"] }).toString("base64"),
    forget: (key: string): void => {
      call(["--delete-secret-and-public-key", key]);
    },
    revoke: (): void => {
      const file = join(home, "openpgp-revocs.d", `${keys.revoked}.rev`);
      call(["--import"], readFileSync(file, "utf8").replace(":-----BEGIN", "-----BEGIN"));
    },
    close: (): void => {
      execFileSync("gpgconf", ["--kill", "all"], { env });
    },
  };
}
