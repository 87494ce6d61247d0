import { expect, test } from "vitest";
import type { Status } from "../../../agent/report/describe.ts";
import {
  emptyOutbox,
  enqueue,
  markPosted,
  nextDue,
  type Outbox,
  parseOutbox,
  postpone,
  type QueuedStatus,
} from "../../../agent/report/outbox.ts";

const A = "a".repeat(40);
const B = "b".repeat(40);
const pending: Status = { state: "pending", description: "seen" };
const success: Status = { state: "success", description: "serial 1" };
const failure: Status = { state: "failure", description: "rolled back" };

const queue = (...steps: readonly [string, Status][]): Outbox =>
  steps.reduce((outbox, [commit, status]) => enqueue(outbox, commit, status), emptyOutbox);
const shown = (outbox: Outbox): readonly string[] => outbox.queued.map(({ commit, state }) => `${commit[0]} ${state}`);
const due = (outbox: Outbox, nowMs = 0): QueuedStatus => {
  const found = nextDue(outbox, nowMs);
  if (found === null) throw new Error("nothing is due");
  return found;
};

test.each<[string, Outbox, readonly string[]]>([
  ["a newer status of a commit supersedes the waiting one", queue([A, pending], [A, success]), ["a success"]],
  [
    "commits wait in the order of their newest status",
    queue([A, pending], [B, pending], [A, success]),
    ["b pending", "a success"],
  ],
  ["the same status twice is one", queue([A, success], [A, success]), ["a success"]],
  ["pending never follows anything", queue([A, failure], [A, pending]), ["a failure"]],
])("%s", (_, outbox, want) => {
  expect(shown(outbox)).toEqual(want);
});

test("what was posted is not posted again; a change is", () => {
  const posted = markPosted(queue([A, success]), due(queue([A, success])));
  expect(enqueue(posted, A, success)).toBe(posted);
  expect(enqueue(posted, A, pending)).toBe(posted);
  expect(shown(enqueue(posted, A, failure))).toEqual(["a failure"]);
});

test("a failure that only counts other milliseconds is no news, another serial is", () => {
  const slow = (ms: number): Status => ({ state: "error", description: `no answer within ${ms} ms` });
  const once = queue([A, slow(5_012)]);
  expect(enqueue(once, A, slow(30_001))).toBe(once);
  expect(enqueue(once, A, { state: "error", description: "no route" })).not.toBe(once);
  expect(queue([A, success], [A, { ...success, description: "serial 2" }]).queued[0]?.description).toBe("serial 2");
});

test("a status that was superseded while its predecessor was on its way stays", () => {
  const first = queue([A, pending]);
  const sent = due(first);
  const after = markPosted(enqueue(first, A, success), sent);
  expect(shown(after)).toEqual(["a success"]);
  expect(after.posted).toEqual([{ commit: A, ...pending }]);
});

test("the queue holds 100 commits and drops the oldest", () => {
  const many = Array.from({ length: 130 }, (_, index): [string, Status] => [
    index.toString(16).padStart(40, "0"),
    success,
  ]);
  const outbox = queue(...many);
  expect(outbox.queued).toHaveLength(100);
  expect(outbox.queued[0]?.commit).toBe((30).toString(16).padStart(40, "0"));
});

test.each([
  [0, 0, 5_000],
  [0, 1, 2_500],
  [3, 0, 40_000],
  [12, 0, 900_000],
  [1_000, 1, 450_000],
])("after %i failed attempts and with the random number %f it waits %i ms", (attempts, random, wantMs) => {
  const start = queue([A, success]);
  const sent = { ...due(start), attempts };
  const outbox = postpone({ ...start, queued: [sent] }, sent, null, 1_000, random);
  expect(outbox.queued[0]?.notBeforeMs).toBe(1_000 + wantMs);
  expect(outbox.queued[0]?.attempts).toBe(attempts + 1);
});

test("a pause that the forge asks for holds every status", () => {
  const outbox = queue([A, success], [B, success]);
  const paused = postpone(outbox, due(outbox), 60_000, 0, 0);
  expect(nextDue(paused, 59_999)).toBeNull();
  expect(due(paused, 60_000).commit).toBe(A);
  expect(nextDue(enqueue(paused, A, failure), 59_999)).toBeNull();
});

test("a day's pause is kept, but a clock that was set back by years does not hold statuses", () => {
  const outbox = queue([A, success]);
  const paused = postpone(outbox, due(outbox), 86_400_000, 0, 1);
  expect(nextDue(paused, 0)).toBeNull();
  expect(due(paused, -400 * 86_400_000).commit).toBe(A);
});

test("an outbox survives its file", () => {
  const outbox = postpone(queue([A, success], [B, failure]), due(queue([A, success])), null, 5, 0.3);
  expect(parseOutbox(Buffer.from(JSON.stringify(outbox)))).toEqual(outbox);
});

test.each([
  ["nothing", ""],
  ["cut off", '{"version":1,"queued":['],
  ["null", "null"],
  ["another version", '{"version":2,"queued":[],"posted":[]}'],
  [
    "a commit that is none",
    `{"version":1,"queued":[],"posted":[{"commit":"../x","state":"success","description":""}]}`,
  ],
  ["an unknown state", `{"version":1,"queued":[],"posted":[{"commit":"${A}","state":"great","description":""}]}`],
  ["no time", `{"version":1,"posted":[],"queued":[{"commit":"${A}","state":"error","description":"","attempts":0}]}`],
  ["too many", JSON.stringify({ version: 1, posted: [], queued: Array.from({ length: 101 }, () => ({})) })],
])("a file with %s is not an outbox", (_, text) => {
  expect(parseOutbox(Buffer.from(text))).toBeNull();
});
