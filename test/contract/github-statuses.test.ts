import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { openForge, type StatusClient } from "../../agent/report/forge.ts";
import { describeGithub } from "../../agent/report/github.ts";
import { startReporter } from "../../agent/report/reporter.ts";

/** Requests and answers against GitHub's own description of POST /repos/{owner}/{repo}/statuses/{sha}. */
const description = JSON.parse(
  readFileSync(new URL("../fixtures/github/commit-statuses.openapi.json", import.meta.url), "utf8"),
);
const ajv = new Ajv2020({ strict: false, validateFormats: false });
ajv.addSchema(description, "github");
const operation = "#/paths/~1repos~1%7Bowner%7D~1%7Brepo%7D~1statuses~1%7Bsha%7D/post";
const validateRequest = ajv.compile({ $ref: `github${operation}/requestBody/content/application~1json/schema` });
const validateStatus = ajv.compile({ $ref: "github#/components/schemas/status" });

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const NOW_MS = Date.parse("2025-01-01T00:00:00Z");
const NOW_S = NOW_MS / 1000;

interface Answer {
  readonly status: number;
  readonly headers?: { readonly [name: string]: string };
  readonly body?: unknown;
}

const seen: { method: string; path: string; headers: IncomingHttpHeaders; body: unknown }[] = [];
let answers: Answer[] = [];
const folder = mkdtempSync(join(tmpdir(), "clawgress-statuses-"));
const tokenFile = join(folder, "token");
let client: StatusClient;
let api: string;

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const body: unknown = JSON.parse(Buffer.concat(chunks).toString("utf8"));
    seen.push({ method: request.method ?? "", path: request.url ?? "", headers: request.headers, body });
    const answer = answers.shift() ?? { status: 201, body: accepted(body as { [key: string]: unknown }) };
    response.writeHead(answer.status, answer.headers);
    response.end(typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body ?? {}));
  });
});

/** An answer as GitHub gives it, checked against its description as well: the double is held to the same contract. */
function accepted(body: { [key: string]: unknown }): unknown {
  const status = {
    url: `https://api.github.com/repos/acme/policy/statuses/${COMMIT}`,
    avatar_url: null,
    id: 1,
    node_id: "MDY6",
    state: body["state"],
    description: body["description"],
    target_url: null,
    context: body["context"],
    created_at: "2025-01-01T00:00:00Z",
    updated_at: "2025-01-01T00:00:00Z",
    creator: null,
  };
  expect(validateStatus(status), JSON.stringify(validateStatus.errors)).toBe(true);
  return status;
}

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  api = `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/v3`;
  client = open();
});
beforeEach(() => {
  writeFileSync(tokenFile, "t0ken\n");
  seen.length = 0;
  answers = [];
});
afterAll(async () => {
  await client.close();
  server.close();
  rmSync(folder, { recursive: true });
});

function open(): StatusClient {
  return openForge(describeGithub("acme/policy"), {
    ...{ api, tokenFile, caFile: null },
    proxy: null,
    dnsServers: [],
    dnsPort: 53,
    nowMs: () => NOW_MS,
  });
}
const post = async (state: "pending" | "success" | "failure" | "error" = "success") =>
  await client.post(COMMIT, "clawgress/gw-1", { state, description: "serial 1" }, new AbortController().signal);

test.each(["pending", "success", "failure", "error"] as const)(
  "the state %s is a request that GitHub describes",
  async (state) => {
    expect(await post(state)).toEqual({ kind: "posted" });
    expect(validateRequest(seen[0]?.body), JSON.stringify(validateRequest.errors)).toBe(true);
    expect(seen[0]?.body).toEqual({ state, description: "serial 1", context: "clawgress/gw-1" });
    expect(`${seen[0]?.method} ${seen[0]?.path}`).toBe(`POST /api/v3/repos/acme/policy/statuses/${COMMIT}`);
    expect(seen[0]?.headers).toMatchObject({
      authorization: "Bearer t0ken",
      accept: "application/vnd.github+json",
      "content-type": "application/json",
      "x-github-api-version": "2022-11-28",
      "user-agent": "clawgress",
    });
  },
);

test("the token is read again for each request", async () => {
  await post();
  writeFileSync(tokenFile, "rotated");
  await post();
  expect(seen.map(({ headers }) => headers.authorization)).toEqual(["Bearer t0ken", "Bearer rotated"]);
});

test.each<[string, Answer, { kind: string; waitMs?: number | null; reason: RegExp }]>([
  ["401", { status: 401 }, { kind: "retry", waitMs: null, reason: /not valid/ }],
  [
    "403 without the permission",
    { status: 403, body: { message: "Resource not accessible" } },
    { kind: "retry", waitMs: null, reason: /may not write.*not accessible/ },
  ],
  [
    "403 of a primary rate limit",
    { status: 403, headers: { "x-ratelimit-remaining": "0", "x-ratelimit-reset": `${NOW_S + 90}` } },
    { kind: "retry", waitMs: 90_000, reason: /rate limit/ },
  ],
  [
    "403 of a secondary rate limit",
    { status: 403, body: { message: "You have exceeded a secondary rate limit" } },
    { kind: "retry", waitMs: 60_000, reason: /rate limit/ },
  ],
  [
    "429 with seconds",
    { status: 429, headers: { "retry-after": "17" } },
    { kind: "retry", waitMs: 17_000, reason: /rate limit/ },
  ],
  [
    "429 with a date",
    { status: 429, headers: { "retry-after": "Wed, 01 Jan 2025 00:01:00 GMT" } },
    { kind: "retry", waitMs: 60_000, reason: /rate limit/ },
  ],
  [
    "503 with Retry-After",
    { status: 503, headers: { "retry-after": "5" } },
    { kind: "retry", waitMs: 5_000, reason: /503/ },
  ],
  ["502", { status: 502, body: "<html>" }, { kind: "retry", waitMs: null, reason: /502/ }],
  [
    "404",
    { status: 404, body: { message: "Not Found" } },
    { kind: "retry", waitMs: null, reason: /no such repository/ },
  ],
  [
    "422 for an unknown commit",
    { status: 422, body: { message: `No commit found for SHA: ${COMMIT}` } },
    { kind: "retry", waitMs: null, reason: /does not know the commit/ },
  ],
  [
    "422 past the limit",
    {
      status: 422,
      body: {
        message: "Validation Failed",
        errors: [
          {
            resource: "Status",
            code: "custom",
            message: "This SHA and context has reached the maximum number of statuses.",
          },
        ],
      },
    },
    { kind: "drop", reason: /maximum number/ },
  ],
  [
    "422 for a field",
    { status: 422, body: { message: "Validation Failed", errors: [{ field: "description", code: "too_long" }] } },
    { kind: "drop", reason: /description too_long/ },
  ],
  [
    "a redirect, which is not followed",
    { status: 301, headers: { location: "https://elsewhere.example/" } },
    { kind: "retry", waitMs: null, reason: /redirects/ },
  ],
  ["200 from a captive portal", { status: 200, body: "<html>sign in" }, { kind: "retry", waitMs: null, reason: /200/ }],
  [
    "201 that is no status",
    { status: 201, body: "<html>" },
    { kind: "retry", waitMs: null, reason: /does not repeat/ },
  ],
])("GD11 GD14 %s", async (_, answer, want) => {
  answers = [answer];
  expect(await post()).toMatchObject({ ...want, reason: expect.stringMatching(want.reason) });
  expect(seen).toHaveLength(1);
});

test("a missing token or a dead server is a reason to try again, without a word of the token", async () => {
  rmSync(tokenFile);
  expect(await post()).toMatchObject({ kind: "retry", reason: expect.stringContaining("does not exist") });
  writeFileSync(tokenFile, "two\nlines");
  const delivery = await post();
  expect(delivery).toMatchObject({ kind: "retry", reason: expect.stringContaining(tokenFile) });
  expect(JSON.stringify(delivery)).not.toContain("two");
  expect(seen).toHaveLength(0);
});

test("GD10 an outbox is delivered in order after the forge comes back, also by another process", async () => {
  const file = join(folder, "outbox.json");
  const events: string[] = [];
  const log = pino({ level: "debug" }, { write: (line: string) => void events.push(JSON.parse(line).event) });
  const other = "f".repeat(40);
  answers = [{ status: 503 }, { status: 503 }];
  const first = await startReporter(open(), "clawgress/gw-1", file, log, () => 1);
  await first.post(COMMIT, { kind: "seen" });
  await first.post(other, { kind: "failed", code: "APPLY_FAILED", message: "no" });
  await first.drain(new AbortController().signal);
  expect(first.state()).toEqual({ queued: 2, lastFailure: expect.stringContaining("503") });
  await first.post(COMMIT, { kind: "refused", code: "TRUST_UNSIGNED", message: "no" });
  await first.close();
  expect(seen).toHaveLength(2);
  expect(events).toEqual(["status-postponed", "status-postponed"]);

  const stored = JSON.parse(readFileSync(file, "utf8"));
  for (const entry of stored.queued) entry.notBeforeMs = 0;
  writeFileSync(file, JSON.stringify(stored));
  const second = await startReporter(open(), "clawgress/gw-1", file, log, () => 1);
  await second.drain(new AbortController().signal);
  await second.drain(new AbortController().signal);
  const bodies = seen.slice(2).map(({ path, body }) => `${path.slice(-2)} ${(body as { state: string }).state}`);
  expect(bodies).toEqual(["ff error", "67 failure"]);
  expect(second.state()).toEqual({ queued: 0, lastFailure: null });
  await second.close();
});

test("a damaged outbox and a folder that cannot be written never throw", async () => {
  const events: string[] = [];
  const log = pino({}, { write: (line: string) => void events.push(JSON.parse(line).event) });
  const file = join(folder, "damaged.json");
  writeFileSync(file, "{");
  const reporter = await startReporter(open(), "clawgress/gw-1", file, log, () => 1);
  await reporter.post(COMMIT, { kind: "seen" });
  await reporter.drain(new AbortController().signal);
  expect(events).toEqual(["outbox-reset", "status-posted"]);
  await reporter.close();
  const lost = await startReporter(open(), "clawgress/gw-1", join(file, "below", "outbox.json"), log, () => 1);
  await lost.post(COMMIT, { kind: "seen" });
  await lost.drain(new AbortController().signal);
  expect(seen).toHaveLength(2);
  await lost.close();
});
