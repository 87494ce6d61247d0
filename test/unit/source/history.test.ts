import { rmSync } from "node:fs";
import { dirname } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { reaches } from "../../../agent/source/commit-walk.ts";
import type { Source } from "../../../agent/source/source.ts";
import { makeRepository, type TestRepository } from "../../support/git-repository.ts";
import { type GitTestServer, startGitServer } from "../../support/git-server.ts";
import { openTestSource, quiet } from "../../support/open-test-source.ts";
import { openTrustCycle, type TrustCycle } from "../../support/trust-cycle.ts";

/** History only goes forward, however it is shown: each scenario by a real Git server and a real clone of ours. */

let repository: TestRepository;
let server: GitTestServer;
let source: Source;
let gitFolder: string;
let cycle: TrustCycle;
const folders: string[] = [];

/** A gateway whose cache is empty: as after a rebuilt cache, or months in which its packs were dropped. */
async function freshCache(url = server.url): Promise<void> {
  await source?.close();
  ({ source, gitFolder } = await openTestSource(url));
  folders.push(dirname(gitFolder));
}
const push = (serial: number, text?: string): string => repository.commitFiles(cycle.approve(serial, text));
const head = (): string => repository.git(["rev-parse", "main"]);
const reset = (commit: string): string => repository.git(["update-ref", "refs/heads/main", commit]);
/** Many commits at once that leave the files as they are. */
const pushEmpty = (count: number): string => {
  const one = "commit refs/heads/main\ncommitter Ada <ada@example.org> 1714521600 +0000\ndata 1\nm\n";
  repository.git(["fast-import", "--quiet", "--force"], `${one}from ${head()}\n\n${`${one}\n`.repeat(count - 1)}`);
  return head();
};

beforeAll(async () => {
  repository = makeRepository();
  server = await startGitServer(repository.folder);
});
beforeEach(async () => {
  server.intercept = null;
  repository.git(["config", "uploadpack.allowFilter", "false"]);
  await freshCache();
  cycle = await openTrustCycle(() => source);
  repository.commitFiles(cycle.approve(1), { orphan: true });
  expect(await cycle.run()).toBe("verified");
});
afterEach(() => cycle.remove());
afterAll(async () => {
  await source.close();
  await server.close();
  for (const folder of [...folders, repository.folder]) rmSync(folder, { recursive: true });
});

describe.each([
  ["with the cache", async () => {}],
  [
    "with an empty cache",
    async () => {
      repository.git(["config", "uploadpack.allowFilter", "true"]);
      await freshCache();
    },
  ],
])("%s", (_, prepare) => {
  test("an update is verified, and so is one that was reverted to an older text", async () => {
    push(2);
    expect(await cycle.run()).toBe("verified");
    await prepare();
    push(3, '{"serial":1}');
    expect(await cycle.run()).toBe("verified");
  });

  test("GA1 a head that moved back is refused, and the next one that goes forward is taken", async () => {
    const first = head();
    const second = pushEmpty(2);
    expect(await cycle.run()).toBe("verified");
    await prepare();
    reset(first);
    expect(await cycle.run()).toBe("TRUST_ROLLBACK");
    expect(cycle.lastError()?.details).toEqual({ floor: second, head: first });
    reset(second);
    push(2);
    expect(await cycle.run()).toBe("verified");
  });

  test("GA2 a force push, though approved, is refused; the remedy mends it", async () => {
    const base = head();
    const floor = push(2);
    expect(await cycle.run()).toBe("verified");
    await prepare();
    reset(base);
    const forced = push(3);
    expect(await cycle.run()).toBe("TRUST_APART");
    expect(cycle.lastError()).toMatchObject({
      message: `the head ${forced} does not descend from ${floor}, which this gateway verified before`,
      remedy: expect.stringContaining(`git merge -s ours ${floor}`),
    });
    repository.commitTree(repository.git(["rev-parse", "main^{tree}"]), [forced, floor]);
    expect(await cycle.run()).toBe("verified");
  });

  test("GA3 an honest update deeper than the clone raises no alarm; a force push as deep is refused", async () => {
    const base = head();
    const floor = push(2);
    expect(await cycle.run()).toBe("verified");
    await prepare();
    pushEmpty(1_200);
    push(3);
    expect(await cycle.run()).toBe("verified");
    await prepare();
    reset(base);
    pushEmpty(1_200);
    push(4);
    expect(await cycle.run()).toBe("TRUST_APART");
    // The server has forgotten the old history altogether.
    await prepare();
    repository.git(["reflog", "expire", "--expire=now", "--all"]);
    repository.git(["gc", "--quiet", "--prune=now"]);
    expect(() => repository.git(["cat-file", "-e", floor])).toThrow();
    expect(await cycle.run()).toBe("TRUST_APART");
  }, 60_000);

  test("GA4 a shallow clone and a force push to an older commit is a refusal, not a crash", async () => {
    pushEmpty(5);
    const older = head();
    pushEmpty(5);
    push(2);
    await freshCache();
    expect(await cycle.run()).toBe("verified");
    await prepare();
    reset(older);
    // The older lock says so before its place in history does.
    expect(await cycle.run()).toBe("TRUST_ROLLBACK");
    repository.commitFiles(cycle.approve(3));
    expect(await cycle.run()).toBe("TRUST_APART");
  });

  test("GA12 another repository under the same address, though approved by the same people, is refused", async () => {
    push(2);
    expect(await cycle.run()).toBe("verified");
    await prepare();
    const theirs = makeRepository();
    folders.push(theirs.folder);
    const commit = theirs.commitFiles(cycle.approve(3));
    const other = await startGitServer(theirs.folder);
    await freshCache(other.url);
    expect(await cycle.run()).toBe("TRUST_APART");
    expect(cycle.lastError()?.details).toMatchObject({ head: commit });
    await other.close();
  });

  test("GA15 what a merge brings in counts only as merged: its approvals must be for the merged files", async () => {
    const ours = push(2);
    const theirs = repository.commitFiles({ "policy.json": "{}" }, { branch: "theirs", orphan: true });
    await prepare();
    const merge = (tree: string, ...parents: readonly string[]): string =>
      repository.commitTree(repository.git(["rev-parse", `${tree}^{tree}`]), parents);
    merge(theirs, ours, theirs);
    expect(await cycle.run()).toBe("TRUST_LOCK_INVALID");
    const third = repository.commitFiles({ other: "x" }, { branch: "third", orphan: true });
    merge(ours, theirs, third, ours);
    expect(await cycle.run()).toBe("verified");
  });
});

test("GA12 a branch that is gone, and one that was renamed, are said to be", async () => {
  repository.git(["branch", "-m", "main", "trunk"]);
  expect(await cycle.run()).toBe("SOURCE_NO_BRANCH");
  repository.git(["branch", "-m", "trunk", "main"]);
  push(2);
  expect(await cycle.run()).toBe("verified");
});

test("GA12 a repository that moved is named, and not followed", async () => {
  server.intercept = ({ send }) => {
    send({ status: 301, headers: { location: `${server.url}/elsewhere` }, body: Buffer.alloc(0) });
    return true;
  };
  expect(await cycle.run()).toBe("SOURCE_REDIRECT");
});

test("GA13 the branch of agent.json is followed, whatever the server calls its default", async () => {
  repository.commitFiles(cycle.approve(9), { branch: "other", orphan: true });
  repository.git(["symbolic-ref", "HEAD", "refs/heads/other"]);
  expect(await cycle.run()).toBe("unchanged");
  repository.git(["symbolic-ref", "HEAD", "refs/heads/main"]);
});

test("GA3 the same where the server cannot leave out files", async () => {
  const base = head();
  push(2);
  expect(await cycle.run()).toBe("verified");
  await freshCache();
  pushEmpty(1_200);
  push(3);
  expect(await cycle.run()).toBe("verified");
  await freshCache();
  reset(base);
  push(4);
  expect(await cycle.run()).toBe("TRUST_APART");
});

test("a server that leaves out files sends a fraction of them", async () => {
  const floor = head();
  for (let serial = 2; serial < 40; serial++) push(serial);
  const bytes: number[] = [];
  for (const allow of ["false", "true"]) {
    repository.git(["config", "uploadpack.allowFilter", allow]);
    await freshCache();
    server.takeTraffic();
    expect(await source.relate(floor, head(), quiet())).toBe("forward");
    bytes.push(server.takeTraffic().down);
  }
  expect(bytes[1]).toBeLessThan((bytes[0] ?? 0) / 2);
});

test("a server that hides what lies between is not believed, and tried again when it fails", async () => {
  const floor = head();
  pushEmpty(3);
  await freshCache();
  const other = repository.commitFiles({ x: "" }, { branch: "x", orphan: true });
  server.intercept = async ({ body, backend, send }) => {
    send(await backend(Buffer.from(body.toString("latin1").replaceAll(head(), other), "latin1")));
    return true;
  };
  expect(await source.relate(floor, head(), quiet())).toBe("apart");
  server.intercept = ({ send }) => {
    send({ status: 502, headers: {}, body: Buffer.alloc(0) });
    return true;
  };
  await expect(source.relate(floor, head(), quiet())).rejects.toMatchObject({ code: "SOURCE_HTTP" });
  server.intercept = null;
  expect(await source.relate(floor, head(), quiet())).toBe("forward");
});

test("a walk looks at each commit once, over merges upon merges and rings alike", () => {
  let looks = 0;
  const diamonds = 20_000;
  const parentsOf = (commit: string): readonly string[] => {
    looks += 1;
    const [kind = "", number = "0"] = commit.split(" ");
    const next = Number(number) + 1;
    if (next > diamonds) return [];
    return kind === "join" ? [`left ${number}`, `right ${number}`] : [`join ${next}`];
  };
  expect(reaches("join 0", `join ${diamonds}`, parentsOf)).toBe(true);
  expect(reaches("join 0", "nowhere", parentsOf)).toBe(false);
  expect(looks).toBeLessThan(2 * 3 * (diamonds + 1));
  expect(reaches("a", "c", (commit) => (commit === "a" ? ["b", "a"] : ["a"]))).toBe(false);
});
