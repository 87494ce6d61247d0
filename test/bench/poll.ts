import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runChecked } from "../../agent/host/run.ts";
import { testSettings } from "../support/open-test-source.ts";
import type { PollParams, PollResult } from "./poll-worker.ts";
import { type Measure, withLab } from "./row.ts";
import { median } from "./statistics.ts";
import { runWorker } from "./worker.ts";

/** A poll that finds nothing new, beside `git ls-remote`: time and bytes. */
export const measurePoll: Measure = ({ quick }) =>
  withLab(async (lab) => {
    const rounds = quick ? 3 : 30;
    const repository = await lab.git.createRepository("acme/egress");
    const clone = await repository.clone();
    for (const argv of [
      ["commit", "--quiet", "--allow-empty", "-m", "first"],
      ["push", "--quiet", "origin", "HEAD:main"],
    ])
      await runChecked(["git", "-C", clone, ...argv], { timeoutMs: 10_000 });
    const tokenFile = join(lab.folder, "bench.token");
    await writeFile(tokenFile, lab.git.token, { mode: 0o600 });
    const basic = Buffer.from(`git:${lab.git.token}`).toString("base64");
    const params = {
      settings: { ...testSettings(repository.url, { caFile: lab.caFile, tokenFile }), url: repository.url },
      gitFolder: join(lab.folder, "bench-git"),
      dnsServer: lab.addresses.dns.v4,
      gitArgv: [
        ...["-c", `http.extraHeader=Authorization: Basic ${basic}`],
        ...["-c", `http.curloptResolve=git.lab.test:443:${lab.addresses.git.v4}`],
      ],
    };
    const work = (polls: number, lists: number): Promise<PollResult> =>
      runWorker("poll", { ...params, polls, lists } satisfies PollParams, { on: { lab, node: "gateway" } });
    const bytes = async (polls: number, lists: number): Promise<{ readonly up: number; readonly down: number }> => {
      await lab.mark();
      await work(polls, lists);
      const { bytesIn, bytesOut } = await lab.git.counters();
      return { up: bytesIn, down: bytesOut };
    };

    const { pollsMs, listsMs } = await work(rounds, rounds);
    // Two runs that differ only in the number of polls differ by the bytes of those polls.
    const more = 20;
    const [few, many, listed] = [await bytes(1, 0), await bytes(1 + more, 0), await bytes(0, 1)];
    const other = (value: number) => ({ what: "git ls-remote", value });
    const how = `${rounds} rounds in turns, median; TLS, token sent at once; ours on a kept connection, git a process and a connection each time, told the address`;
    return [
      {
        ...{ what: "poll with no change", unit: "ms", ours: median(pollsMs), other: other(median(listsMs)), how },
        goal: "≤ 0.5×",
      },
      {
        ...{ what: "poll, bytes sent", unit: "B", ours: (many.up - few.up) / more, other: other(listed.up), how },
        goal: "≤ 400 B",
      },
      {
        ...{ what: "poll, bytes received", unit: "B", ours: (many.down - few.down) / more },
        ...{ other: other(listed.down), how, goal: "≤ 400 B" },
      },
    ];
  });
