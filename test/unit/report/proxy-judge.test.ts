import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createProxyJudge } from "../../../agent/report/proxy-judge.ts";
import { readProxyTotals, writeProxyTotals } from "../../../agent/report/proxy-totals.ts";
import { policyOf } from "../../support/compile-samples.ts";

let folder: string;
let about: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "clawgress-judge-"));
  about = join(folder, "about.map");
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Lays a release down and says that the proxy goes by it. */
function goBy(digest: string, commit: string, domain: string): void {
  mkdirSync(join(folder, digest), { recursive: true });
  const policy = policyOf({ version: 1, allow: { domains: [domain] } });
  writeFileSync(join(folder, digest, "gate.json"), JSON.stringify({ policy }));
  writeFileSync(join(folder, digest, "provenance.json"), JSON.stringify({ commit }));
  writeFileSync(about, `commit ${commit}\nserial 1\nrelease ${digest}\n`);
}

test("a line is judged by the release that the proxy goes by, and by no other", async () => {
  const judge = createProxyJudge(folder, about);
  expect(await judge.deciderOf("c1")).toBeNull();
  goBy("a".repeat(64), "c1", "one.example.com");
  const first = await judge.deciderOf("c1");
  expect(first?.decideName(first.clientOf("10.0.0.1"), "one.example.com").verdict).toBe("allow");
  expect(await judge.deciderOf("c1")).toBe(first);
  goBy("b".repeat(64), "c2", "two.example.com");
  const second = await judge.deciderOf("c2");
  expect(second?.decideName(second.clientOf("10.0.0.1"), "one.example.com").verdict).toBe("deny");
  expect(await judge.deciderOf("c1")).toBeNull();
  expect(await judge.deciderOf("c2")).not.toBeNull();
});

test("a policy that nobody asks for is let go, and read again when somebody does", async () => {
  const judge = createProxyJudge(folder, about);
  goBy("a".repeat(64), "c1", "one.example.com");
  const first = await judge.deciderOf("c1");
  judge.rest();
  expect(await judge.deciderOf("c1")).toBe(first);
  judge.rest();
  judge.rest();
  const again = await judge.deciderOf("c1");
  expect(again).not.toBe(first);
  expect(again).not.toBeNull();
});

test.each(["", "commit c1\n", `commit c1\nrelease ../../etc\n`, `commit c1\nrelease ${"f".repeat(64)}\n`])(
  "without a release that is there nobody judges: %j",
  async (text) => {
    writeFileSync(about, text);
    expect(await createProxyJudge(folder, about).deciderOf("c1")).toBeNull();
  },
);

test("totals come back as they were written; what is none is none", async () => {
  const path = join(folder, "totals.json");
  expect(await readProxyTotals(path)).toBeNull();
  const totals = { since: "2026-01-01T00:00:00.000Z", lastId: null, audited: {}, written: 3, unattributed: 0 };
  await writeProxyTotals(path, { ...totals, denied: { tls: { "not-tls": 7 }, http: {} } });
  expect(await readProxyTotals(path)).toMatchObject({ denied: { tls: { "not-tls": 7 } }, written: 3 });
  for (const text of ["", "{", "null", "{}", '{"since":"x"}']) {
    writeFileSync(path, text);
    expect(await readProxyTotals(path), text).toBeNull();
  }
});
