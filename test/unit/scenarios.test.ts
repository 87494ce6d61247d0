import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

/**
 * What must hold for applies, rollbacks and crashes. Each has a test whose title begins with its number.
 */
const scenarios = {
  GE1: "killed between any two steps: the old or the new release, whole",
  GE2: "un-synced writes are lost: as GE1",
  GE3: "a disk that is full or read-only: the old policy stays, told, and recovers by itself",
  GE4: "one half of a change is refused: both go back, and nothing opens in between",
  GE5: "rules that pass the check and fail to load, another tool's flush: reverted, no other table touched",
  GE6: "zones, serials, keys and restarts of named: found by its canaries",
  GE7: "named answers before it enforces: nothing is served",
  GE8: "probes that flap, or failed before the change",
  GE9: "a rollback that fails: only the lifeline, and told as what it is",
  GE10: "a release that was rolled back is not tried again",
  GE11: "a newer commit while another waits for its confirmation",
  GE12: "an agent that dies, or a reboot, before the confirmation",
  GE13: "no timer, no change",
  GE14: "a policy that would lock its own gateway out",
  GE15: "a policy that closes the status API",
  GE17: "open flows of what is denied",
  GE18: "changes by hand",
  GE19: "updates are suspended",
  GE20: "state of a newer version",
  GE21: "two agents of one gateway",
  GE22: "a lock whose holder was killed",
  GE23: "a million names",
  GE24: "a boot without a network",
  GE26: "out of hours, what opens anything waits, and what only closes does not",
  GE28: "a broken glass whose end comes while nobody is there",
  GE31: "secrets in arguments, logs, files and errors",
  GE32: "what listens, listens on loopback",
};

const folder = fileURLToPath(new URL("..", import.meta.url));
const titles = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".test.ts"))
  .flatMap((path) => readFileSync(`${folder}${path}`, "utf8").match(/["'`](?:GE[0-9]+: )+[^"'`\n]+/g) ?? []);

test.each(Object.entries(scenarios))("%s has a test of its name: %s", (id) => {
  expect(titles.filter((title) => title.includes(`${id}: `))).not.toEqual([]);
});

test("no test is named after a scenario that does not exist", () => {
  const named = titles.flatMap((title) => title.match(/GE[0-9]+/g) ?? []);
  expect([...new Set(named)].filter((id) => !(id in scenarios))).toEqual([]);
});
