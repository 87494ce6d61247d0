import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const environment = {
  ...process.env,
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_CONFIG_SYSTEM: "/dev/null",
  GIT_AUTHOR_NAME: "Ada",
  GIT_AUTHOR_EMAIL: "ada@example.org",
  GIT_COMMITTER_NAME: "Ada",
  GIT_COMMITTER_EMAIL: "ada@example.org",
  GIT_AUTHOR_DATE: "2024-05-01T00:00:00Z",
  GIT_COMMITTER_DATE: "2024-05-01T00:00:00Z",
};

export interface TestRepository {
  readonly folder: string;
  /** Runs git in the repository and returns its output without the last newline. */
  git(args: readonly string[], stdin?: Buffer | string): string;
  /** Runs git in the repository and returns its output as bytes. */
  gitBytes(args: readonly string[], stdin?: Buffer | string): Buffer;
  /** Stores an object exactly as given, however malformed, and returns its id. */
  writeObject(type: "blob" | "tree" | "commit", content: Buffer | string): string;
  /** Returns a tree object's content from rows of mode, name and id, in the order given. */
  treeBytes(rows: readonly (readonly [mode: string, name: string, oid: string])[]): Buffer;
  /** Commits a tree id with the given parents and moves the branch there. */
  commitTree(tree: string, parents?: readonly string[], branch?: string): string;
  /** Commits files (path → content) on top of the branch's head, or as a root when `orphan`. */
  commitFiles(
    files: { readonly [path: string]: string | Buffer },
    options?: { orphan?: boolean; branch?: string },
  ): string;
}

/** Returns a new bare repository in a temporary folder; the test removes it. */
export function makeRepository(objectFormat: "sha1" | "sha256" = "sha1"): TestRepository {
  const folder = mkdtempSync(join(tmpdir(), "clawgress-git-"));
  const gitBytes: TestRepository["gitBytes"] = (args, stdin) =>
    execFileSync("git", ["--git-dir", folder, ...args], {
      env: environment,
      input: stdin ?? "",
      maxBuffer: 256 * 1024 * 1024,
      stdio: ["pipe", "pipe", "pipe"],
    });
  const git: TestRepository["git"] = (args, stdin) => gitBytes(args, stdin).toString("utf8").replace(/\n$/, "");
  execFileSync("git", ["init", "-q", "--bare", "-b", "main", `--object-format=${objectFormat}`, folder], {
    env: environment,
  });
  git(["config", "http.uploadpack", "true"]);

  const writeObject: TestRepository["writeObject"] = (type, content) =>
    git(["hash-object", "-t", type, "-w", "--stdin", "--literally"], content);
  const treeBytes: TestRepository["treeBytes"] = (rows) =>
    Buffer.concat(rows.flatMap(([mode, name, oid]) => [Buffer.from(`${mode} ${name}\0`), Buffer.from(oid, "hex")]));
  const commitTree: TestRepository["commitTree"] = (tree, parents = [], branch = "main") => {
    const commit = git(["commit-tree", tree, ...parents.flatMap((parent) => ["-p", parent]), "-m", "policy"]);
    git(["update-ref", `refs/heads/${branch}`, commit]);
    return commit;
  };
  return {
    folder,
    git,
    gitBytes,
    writeObject,
    treeBytes,
    commitTree,
    commitFiles: (files, { orphan = false, branch = "main" } = {}) => {
      const head = orphan ? "" : git(["for-each-ref", "--format=%(objectname)", `refs/heads/${branch}`]);
      const parent = head === "" ? [] : [`from ${head}\n`];
      const parts: (string | Buffer)[] = [
        `commit refs/heads/${branch}\ncommitter Ada <ada@example.org> 1714521600 +0000\ndata 6\npolicy\n`,
        ...parent,
      ];
      if (orphan) git(["update-ref", "-d", `refs/heads/${branch}`]);
      for (const [path, content] of Object.entries(files)) {
        const bytes = Buffer.from(content);
        parts.push(`M 100644 inline ${path}\ndata ${bytes.length}\n`, bytes, "\n");
      }
      git(["fast-import", "--quiet", "--force"], Buffer.concat(parts.map((part) => Buffer.from(part))));
      return git(["rev-parse", `refs/heads/${branch}`]);
    },
  };
}
