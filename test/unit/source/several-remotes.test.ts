import { rmSync } from "node:fs";
import { dirname } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { Notice } from "../../../agent/source/head-choice.ts";
import type { Source } from "../../../agent/source/source.ts";
import { makeRepository, type TestRepository } from "../../support/git-repository.ts";
import { type GitTestServer, type Intercept, startGitServer } from "../../support/git-server.ts";
import { openTestSource, quiet, testSettings } from "../../support/open-test-source.ts";
import { openTrustCycle, type TrustCycle } from "../../support/trust-cycle.ts";

/** One repository on two servers. */

interface Place {
  readonly repository: TestRepository;
  readonly server: GitTestServer;
}
let first: Place;
let second: Place;
let source: Source;
let notices: readonly Notice[];
let cycle: TrustCycle;
const folders: string[] = [];

const down: Intercept = ({ request }) => {
  request.socket.resetAndDestroy();
  return true;
};
const push = ({ repository }: Place, serial: number): string => repository.commitFiles(cycle.approve(serial));
const copy = (from: Place, to: Place): void => {
  to.repository.git(["fetch", "--quiet", "--force", from.repository.folder, "+refs/heads/main:refs/heads/main"]);
};
const openPlace = async (): Promise<Place> => {
  const repository = makeRepository();
  return { repository, server: await startGitServer(repository.folder) };
};

beforeAll(async () => {
  first = await openPlace();
  second = await openPlace();
});
beforeEach(async () => {
  first.server.intercept = null;
  second.server.intercept = null;
  const mirror = { ...testSettings(second.server.url), url: second.server.url };
  const opened = await openTestSource(first.server.url, { mirrors: [mirror] });
  ({ source, notices } = opened);
  folders.push(dirname(opened.gitFolder));
  cycle = await openTrustCycle(() => source);
  first.repository.commitFiles(cycle.approve(1), { orphan: true });
  copy(first, second);
  expect(await cycle.run()).toBe("verified");
});
afterEach(async () => {
  await source.close();
  cycle.remove();
});
afterAll(async () => {
  for (const { server, repository } of [first, second]) {
    await server.close();
    folders.push(repository.folder);
  }
  for (const folder of folders) rmSync(folder, { recursive: true });
});

test("either may be down; it is said once, and once when it is back", async () => {
  let serial = 1;
  for (const [lame, sound] of [
    [first, second],
    [second, first],
  ] as const) {
    lame.server.intercept = down;
    push(sound, ++serial);
    expect(await cycle.run()).toBe("verified");
    push(sound, ++serial);
    expect(await cycle.run()).toBe("verified");
    lame.server.intercept = null;
    copy(sound, lame);
    expect(await cycle.run()).toBe("unchanged");
  }
  const place = ({ server }: Place): string => server.url;
  expect(notices.map(({ event, remote }) => [event, remote])).toEqual([
    ["remote-down", place(first)],
    ["remote-up", place(first)],
    ["remote-down", place(second)],
    ["remote-up", place(second)],
  ]);
});

test("both down is the first one's error", async () => {
  first.server.intercept = ({ send }) => {
    send({ status: 401, headers: {}, body: Buffer.alloc(0) });
    return true;
  };
  second.server.intercept = down;
  expect(await cycle.run()).toBe("SOURCE_AUTH");
});

test("where one is behind, the newest counts, whichever it is", async () => {
  push(first, 2);
  expect(await cycle.run()).toBe("verified");
  expect(notices).toMatchObject([{ event: "remote-behind", remote: second.server.url }]);
  copy(first, second);
  push(second, 3);
  expect(await cycle.run()).toBe("verified");
  copy(second, first);
  expect(await cycle.run()).toBe("unchanged");
  expect(notices.map(({ event }) => event)).toEqual(["remote-behind", "remote-behind", "remote-up", "remote-up"]);
});

test("one that is behind while the other is down is late, and no rollback", async () => {
  const newest = push(first, 2);
  expect(await cycle.run()).toBe("verified");
  first.server.intercept = down;
  expect(await cycle.run()).toBe("unchanged");
  expect(await source.poll(quiet())).toBe(newest);
});

test("GA18 remotes with different histories: nothing is taken from either, and both heads are named", async () => {
  const ours = push(first, 2);
  const theirs = push(second, 3);
  expect(await cycle.run()).toBe("TRUST_APART");
  expect(cycle.lastError()).toMatchObject({
    message: `the remotes show different histories: ${first.server.url} shows ${ours}, ${second.server.url} shows ${theirs}`,
    details: { heads: [{ head: ours }, { head: theirs }] },
  });
  expect(await cycle.run()).toBe("TRUST_APART");
  copy(first, second);
  expect(await cycle.run()).toBe("verified");
});

test("GA18 the second one alone cannot show another history either", async () => {
  push(first, 2);
  expect(await cycle.run()).toBe("verified");
  push(second, 3);
  first.server.intercept = down;
  expect(await cycle.run()).toBe("TRUST_APART");
});
