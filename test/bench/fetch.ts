import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monotonicMs } from "../../agent/host/clock.ts";
import { parseCommitObject } from "../../agent/trust/commit-object.ts";
import { verifyCommit } from "../../agent/trust/verify-commit.ts";
import { makeRepository, type TestRepository } from "../support/git-repository.ts";
import { type GitTestServer, startGitServer } from "../support/git-server.ts";
import { insertSignature } from "../support/signed-commits.ts";
import { makeRoot, makeSigner, rootJson } from "../support/trust.ts";
import { type Cost, type FetchParams, runGit } from "./fetch-worker.ts";
import type { Measure, Row } from "./row.ts";
import { median } from "./statistics.ts";
import { runWorker } from "./worker.ts";

/** Large repositories: many references, many files, many commits; ours beside git itself, each in a process of its own. */
export const measureFetch: Measure = async ({ quick, say }) => {
  const rows: Row[] = [];
  const size = quick ? 100 : 1;
  for (const [what, measure] of [
    [`${5_000 / size} references`, () => manyRefs(5_000 / size)],
    [`${50_000 / size} files`, () => manyFiles(50_000 / size, quick ? 1 : 3)],
    [`${10_000 / size} commits`, () => manyCommits(10_000 / size, quick ? 1 : 3)],
    [`${10_000 / size} signed commits`, () => signedCommits(10_000 / size)],
  ] as const) {
    say(what);
    rows.push(...(await measure()));
  }
  return rows;
};

interface Place {
  readonly repository: TestRepository;
  readonly server: GitTestServer;
  /** A fresh path in a folder that goes with the place. */
  path(): string;
}

async function withPlace<T>(work: (place: Place) => Promise<T>): Promise<T> {
  const repository = makeRepository();
  const server = await startGitServer(repository.folder);
  const folder = mkdtempSync(join(tmpdir(), "clawgress-bench-fetch-"));
  let count = 0;
  try {
    return await work({ repository, server, path: () => join(folder, String(++count)) });
  } finally {
    await server.close();
    for (const path of [repository.folder, folder]) rmSync(path, { recursive: true });
  }
}

const ours = (params: Partial<FetchParams> & Pick<FetchParams, "url" | "gitFolder">): Promise<Cost> =>
  runWorker<Cost>("fetch", { polls: 0, floor: null, ...params } satisfies FetchParams);
const importCommits = (repository: TestRepository, stream: string): void => {
  repository.git(["fast-import", "--quiet", "--force"], stream);
};
const COMMITTER = "committer Ada <ada@example.org> 1714521600 +0000\ndata 1\nm\n";
const fileLine = (path: string, text: string): string => `M 100644 inline ${path}\ndata ${text.length}\n${text}\n`;

/** Rows of time and of memory for the same work. */
function pair(what: string, mine: readonly Cost[], git: readonly Cost[], other: string, how: string): readonly Row[] {
  const most = (costs: readonly Cost[]): number => Math.max(...costs.map(({ maxRssBytes }) => maxRssBytes)) / 1e6;
  const middle = (costs: readonly Cost[]): number => median(costs.map(({ tookMs }) => tookMs));
  return [
    { what, unit: "ms", ours: middle(mine), other: { what: other, value: middle(git) }, goal: null, how },
    {
      ...{ what: `${what}, peak memory`, unit: "MB", ours: most(mine), other: { what: other, value: most(git) }, how },
      goal: "≤ 256 MB",
    },
  ];
}

async function manyRefs(count: number): Promise<readonly Row[]> {
  return await withPlace(async ({ repository, server, path }) => {
    const head = repository.commitFiles({ "policy.json": "{}" });
    const lines = Array.from({ length: count }, (_, index) => `${head} refs/pull/${100_000 + index}/head\n`);
    writeFileSync(
      join(repository.folder, "packed-refs"),
      `# pack-refs with: peeled fully-peeled sorted \n${lines.join("")}`,
    );
    const polls = 20;
    const mine = await ours({ url: server.url, gitFolder: path(), polls });
    const git: Cost[] = [];
    for (let round = 0; round < polls; round++) git.push(await runGit(["ls-remote", server.url, "refs/heads/main"]));
    const bytes = async (work: () => Promise<unknown>): Promise<number> => {
      server.takeTraffic();
      await work();
      return server.takeTraffic().down;
    };
    const one = await bytes(() => ours({ url: server.url, gitFolder: path(), polls: 1 }));
    const two = await bytes(() => ours({ url: server.url, gitFolder: path(), polls: 2 }));
    const listed = await bytes(() => runGit(["ls-remote", server.url, "refs/heads/main"]));
    const other = "git ls-remote";
    const how = `${polls} polls on a kept connection; git a process each time; plain HTTP on loopback`;
    return [
      ...pair(`poll, ${count} references`, [mine], git, other, how),
      {
        ...{ what: `poll, ${count} references, bytes received`, unit: "B" as const, ours: two - one },
        ...{ other: { what: other, value: listed }, goal: "≤ 400 B", how },
      },
    ];
  });
}

async function manyFiles(count: number, rounds: number): Promise<readonly Row[]> {
  return await withPlace(async ({ repository, server, path }) => {
    const files = Array.from({ length: count }, (_, index) =>
      fileLine(`d${index % 250}/f${index}.json`, `{"file":${index}}`),
    );
    importCommits(repository, `commit refs/heads/main\n${COMMITTER}${files.join("")}${fileLine("policy.json", "{}")}`);
    const how = `${rounds} rounds, each into an empty folder; highest peak, of git without its helpers; plain HTTP on loopback, the server on the same cores`;
    const [mine, git]: [Cost[], Cost[]] = [[], []];
    const [mineNext, gitNext]: [Cost[], Cost[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      const [gitFolder, bare] = [path(), path()];
      mine.push(await ours({ url: server.url, gitFolder }));
      git.push(await runGit(["clone", "--quiet", "--bare", "--depth=1", server.url, bare]));
      repository.commitFiles({ "policy.json": `{"round":${round}}` });
      mineNext.push(await ours({ url: server.url, gitFolder }));
      gitNext.push(await runGit(["--git-dir", bare, "fetch", "--quiet", server.url, "main"]));
    }
    return [
      ...pair(`first fetch, ${count} files`, mine, git, "git clone --depth 1", how),
      ...pair(`one changed file of ${count}, after a restart`, mineNext, gitNext, "git fetch", how),
    ];
  });
}

async function manyCommits(count: number, rounds: number): Promise<readonly Row[]> {
  return await withPlace(async ({ repository, server, path }) => {
    const floor = repository.commitFiles({ "policy.json": "{}" });
    const commits = Array.from(
      { length: count },
      (_, index) =>
        `commit refs/heads/main\n${COMMITTER}${index === 0 ? `from ${floor}\n` : ""}${fileLine("policy.json", `{"n":${index}}`)}`,
    );
    importCommits(repository, commits.join("\n"));
    const rows: Row[] = [];
    for (const canFilter of [true, false]) {
      repository.git(["config", "uploadpack.allowFilter", String(canFilter)]);
      const [mine, git]: [Cost[], Cost[]] = [[], []];
      for (let round = 0; round < rounds; round++) {
        const bare = path();
        mine.push(await ours({ url: server.url, gitFolder: path(), floor }));
        const filter = canFilter ? ["--filter=tree:0"] : [];
        const fetched = await runGit(["clone", "--quiet", "--bare", ...filter, server.url, bare]);
        const judged = await runGit(["--git-dir", bare, "merge-base", "--is-ancestor", floor, "HEAD"]);
        const maxRssBytes = Math.max(fetched.maxRssBytes, judged.maxRssBytes);
        git.push({ tookMs: fetched.tookMs + judged.tookMs, maxRssBytes });
      }
      const what = `is the head ahead, over ${count} commits${canFilter ? "" : ", with all files"}`;
      rows.push(...pair(what, mine, git, "git clone and merge-base", `${rounds} rounds, nothing on disk before`));
    }
    return rows;
  });
}

async function signedCommits(count: number): Promise<readonly Row[]> {
  return await withPlace(async ({ repository, path }) => {
    const alice = makeSigner();
    const root = makeRoot(rootJson({ alice: [alice.publicLine] }, 1));
    const tree = repository.git(["mktree"], "");
    const people = "author A <ada@example.org> 0 +0000\ncommitter A <ada@example.org> 0 +0000";
    const raws = Array.from({ length: count }, (_, index) => {
      const payload = Buffer.from(`tree ${tree}\n${people}\n\nchange ${index}\n`);
      return insertSignature(payload, alice.sign(payload, "git"));
    });
    const startedMs = monotonicMs();
    for (const raw of raws) {
      const parsed = parseCommitObject(raw);
      const verdict = parsed.ok
        ? await verifyCommit({
            revoked: new Set<string>(),
            seenAtMs: Date.now(),
            root,
            commit: parsed.value,
            checkOpenPgp: null,
          })
        : null;
      if (verdict?.ok !== true) throw new Error("a sound signature is refused");
    }
    const tookMs = monotonicMs() - startedMs;
    const sample = Math.min(count, 100);
    const ids = raws.slice(0, sample).map((raw) => repository.writeObject("commit", raw));
    const allowed = path();
    writeFileSync(allowed, `ada@example.org ${alice.publicLine}\n`);
    const config = ["-c", `gpg.ssh.allowedSignersFile=${allowed}`];
    const git = await runGit(["--git-dir", repository.folder, ...config, "verify-commit", ...ids]);
    const how = `Ed25519; git verifies ${sample} of them, its time is multiplied`;
    const other = { what: "git verify-commit", value: ((git.tookMs / sample) * count) / 1_000 };
    return [{ what: `verify ${count} signed commits`, unit: "s", ours: tookMs / 1_000, other, goal: "≤ 3 s", how }];
  });
}
