import { expect, test } from "vitest";
import { createMetrics } from "../../agent/api/metrics.ts";
import { showCompletions } from "../../agent/commands/completions.ts";
import { describeDenials } from "../../agent/commands/describe-denials.ts";
import { showManual } from "../../agent/commands/manual.ts";
import { createOutput } from "../../agent/commands/output.ts";
import { describeStatus } from "../../agent/commands/status.ts";
import { describeTelemetry } from "../../agent/commands/telemetry.ts";
import { describeRow } from "../../agent/commands/watch.ts";
import type { DecisionRow } from "../../agent/decisions/decision.ts";
import { openDecisionStore } from "../../agent/decisions/store.ts";
import { readTelemetry, telemetryViews } from "../../agent/decisions/telemetry.ts";
import { run } from "../../agent/host/run.ts";
import { buildProgram } from "../../agent/program.ts";
import { buildTestApi } from "../support/api-server.ts";
import { sampleMeasures, sampleRows, sampleStatus, temporaryFolder } from "../support/face-samples.ts";

/** What people and programs read, as a reader has reviewed it. */

const NOW_S = 1_800_000_000;
const lines = (texts: readonly string[]): string => `${texts.join("\n")}\n`;

function storeOf(rows: readonly DecisionRow[]) {
  const folder = temporaryFolder();
  const store = openDecisionStore({ folder, nowS: () => NOW_S - 3600, maxRows: 1000, maxBytes: 1e6, maxAgeS: 1e6 });
  store.append(rows, store.marks);
  return store;
}

async function printed(show: (output: ReturnType<typeof createOutput>) => Promise<number>): Promise<string> {
  let text = "";
  const stream = { write: (part: string) => (text += part) };
  expect(await show(createOutput({ json: false, color: false }, stream, stream))).toBe(0);
  return text;
}

test.each(["well", "broken", "closed"] as const)("status: %s", async (kind) => {
  await expect(lines(describeStatus(sampleStatus(kind)))).toMatchFileSnapshot(`outputs/status-${kind}.txt`);
});

test.each(telemetryViews)("telemetry %s", async (view) => {
  const target = view === "agent" ? "agent-1" : view === "domain" ? "api.openai.com" : null;
  const telemetry = readTelemetry(storeOf(sampleRows(NOW_S)), { view, target, window: "1h" }, NOW_S);
  await expect(lines(describeTelemetry(telemetry))).toMatchFileSnapshot(`outputs/telemetry-${view}.txt`);
  await expect(`${JSON.stringify(telemetry, null, 1)}\n`).toMatchFileSnapshot(`outputs/telemetry-${view}.json`);
});

test("stats and watch", async () => {
  const telemetry = readTelemetry(storeOf(sampleRows(NOW_S)), { view: "denies", target: null, window: "1h" }, NOW_S);
  await expect(lines(describeDenials(telemetry))).toMatchFileSnapshot("outputs/stats.txt");
  await expect(lines(sampleRows(NOW_S).map(describeRow))).toMatchFileSnapshot("outputs/watch.txt");
});

test("metrics", async () => {
  const metrics = createMetrics();
  metrics.note(sampleRows(NOW_S));
  metrics.begin({ ...sampleMeasures, shaped: [] });
  const text = await metrics.render({
    ...{ nowMs: NOW_S * 1000, status: sampleStatus("broken"), measures: sampleMeasures },
    counters: { epoch: "", traffic: [], denied: { denied_forward: 4, over_limit: 2 } },
    store: { rows: 7, keys: 6, bytes: 900, completeSinceS: NOW_S - 3600, damagedLines: 0 },
  });
  await expect(text).toMatchFileSnapshot("outputs/metrics.txt");
});

test("the OpenAPI description", async () => {
  const { app } = await buildTestApi();
  const { body } = await app.inject("/api/clawgress/openapi.json");
  await app.close();
  await expect(`${JSON.stringify(JSON.parse(body), null, 1)}\n`).toMatchFileSnapshot("outputs/openapi.json");
});

test("help of every verb", async () => {
  const visit = (command: ReturnType<typeof buildProgram>): string =>
    [command.helpInformation(), ...command.commands.map(visit)].join("\n");
  await expect(visit(buildProgram(() => {}))).toMatchFileSnapshot("outputs/help.txt");
});

test("the manual names every verb, option and exit status, and man reads it", async () => {
  const page = await printed((output) => showManual(buildProgram(() => {}), output));
  await expect(page).toMatchFileSnapshot("outputs/clawgress.8");
  const shown = await run(["man", "--warnings", "-l", "-"], { timeoutMs: 20_000, stdin: page, env: { MANWIDTH: "120" } }).catch(() => null);
  if (shown !== null) expect(shown.stderr).toBe("");
});

test("completions of bash complete verbs, options and choices", async () => {
  const script = await printed((output) => showCompletions("bash", buildProgram(() => {}), output));
  await expect(script).toMatchFileSnapshot("outputs/completions.bash");
  for (const shell of ["zsh", "fish"]) {
    const text = await printed((output) => showCompletions(shell, buildProgram(() => {}), output));
    await expect(text).toMatchFileSnapshot(`outputs/completions.${shell}`);
  }
  const complete = async (...words: readonly string[]): Promise<readonly string[]> => {
    const quoted = words.map((word) => `"${word}"`).join(" ");
    const stdin = `${script}\nCOMP_WORDS=(clawgress ${quoted}); COMP_CWORD=${words.length}; _clawgress; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout } = await run(["bash", "--norc", "-s"], { timeoutMs: 10_000, stdin });
    return stdout.trim().split("\n");
  };
  expect(await complete("sta")).toEqual(["status", "stats"]);
  expect(await complete("policy", "imp")).toEqual(["import"]);
  expect(await complete("policy", "import", "file", "--br")).toEqual(["--break-glass"]);
  expect(await complete("telemetry", "--window", "")).toEqual(["1m", "5m", "1h", "24h"]);
  expect(await complete("watch", "--verdict", "would")).toEqual(["would-deny"]);
});
