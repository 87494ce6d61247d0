import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createDenyRecords } from "../../../agent/gate/deny-records.ts";
import { refuseForNow } from "../../../agent/gate/judge-query.ts";
import { openAppendLog } from "../../../agent/host/append-log.ts";

test("a client's denials of one reason are written ten at once, then one a second; the rest is counted", () => {
  const lines: { readonly [key: string]: unknown }[] = [];
  let nowS = 0;
  const records = createDenyRecords({
    gateway: "g",
    log: { append: (line) => lines.push(JSON.parse(line)), rewrite: () => {}, close: () => {} },
    nowMs: () => 0,
    monotonicS: () => nowS,
    onError: () => {},
  });
  const note = (client: string, reason: "dns-rate" | "not-ready" = "dns-rate"): void =>
    records.note(refuseForNow(reason, null, ""), { client, query: null }, null);
  for (let index = 0; index < 30; index++) note("a");
  expect(lines).toHaveLength(10);
  note("b");
  note("a", "not-ready");
  expect(lines).toHaveLength(12);
  nowS = 1;
  note("a");
  note("a");
  expect(lines).toHaveLength(13);
  expect(lines.at(-1)).toMatchObject({
    ts: "1970-01-01T00:00:00.000Z",
    client: "a",
    suppressed: 20,
    action: "servfail",
  });
});

test("the file is bounded: full, it becomes the old one", () => {
  const folder = mkdtempSync(join(tmpdir(), "clawgress-log-"));
  const path = join(folder, "sub", "deny.jsonl");
  const log = openAppendLog(path, { mode: 0o640, maxBytes: 100 });
  for (let index = 0; index < 25; index++) log.append(`line ${index}`.padEnd(19, "."));
  log.close();
  expect(statSync(path).size).toBeLessThanOrEqual(100);
  expect(readFileSync(`${path}.1`, "utf8").split("\n")).toHaveLength(6);
  expect(readFileSync(path, "utf8")).toContain("line 24");
  const again = openAppendLog(path, { mode: 0o640, maxBytes: 100 });
  again.append("x".repeat(99));
  again.rewrite([]);
  again.append("y");
  again.close();
  expect(readFileSync(path, "utf8")).toBe("y\n");
  rmSync(folder, { recursive: true });
});
