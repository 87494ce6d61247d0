import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Status } from "../../agent/report/describe.ts";
import { type Forge, openForge, type StatusClient } from "../../agent/report/forge.ts";
import { describeGitea } from "../../agent/report/gitea.ts";
import { describeGitlab } from "../../agent/report/gitlab.ts";
import { startReporter } from "../../agent/report/reporter.ts";
import { parseSettings } from "../../agent/settings/parse-settings.ts";

/** Requests and answers against what each forge documents; the fake server refuses everything else. */

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const states = ["pending", "success", "failure", "error"] as const;

interface Answer {
  readonly status: number;
  readonly headers?: { readonly [name: string]: string };
  readonly body?: unknown;
}
interface Seen {
  readonly path: string;
  readonly authorization: string | undefined;
  readonly body: { readonly [field: string]: string };
}
type Row = readonly [name: string, answer: Answer, kind: "posted" | "retry" | "drop", reason?: RegExp];

interface Kind {
  readonly name: string;
  readonly forge: Forge;
  readonly base: string;
  readonly path: string;
  readonly operation: string;
  readonly scheme: string;
  /** Our state → the state in the request. */
  readonly words: { readonly [state in Status["state"]]: string };
  readonly contextField: string;
  answer(body: Seen["body"]): object;
  readonly rows: readonly Row[];
}

const common: readonly Row[] = [
  ["401", { status: 401 }, "retry", /not valid/],
  [
    "GD14 403 without the scope",
    { status: 403, body: { message: "insufficient_scope" } },
    "retry",
    /insufficient_scope/,
  ],
  ["GD1 429 with Retry-After", { status: 429, headers: { "retry-after": "17" } }, "retry", /rate limit/],
  ["502", { status: 502, body: "<html>" }, "retry", /502/],
  ["200 from a captive portal", { status: 200, body: "<html>sign in" }, "retry", /200/],
  ["201 that is no status", { status: 201, body: "<html>" }, "retry", /does not repeat/],
  [
    "404 for the repository",
    { status: 404, body: { message: "404 Project Not Found" } },
    "retry",
    /no such repository/,
  ],
  ["a redirect", { status: 301, headers: { location: "https://elsewhere.example/" } }, "retry", /redirects/],
  ["400 for a field", { status: 400, body: { message: { name: ["is too long"] } } }, "drop", /name.*is too long/],
];

const kinds: readonly Kind[] = [
  {
    name: "gitlab",
    forge: describeGitlab("acme/net/policy", "main"),
    base: "/api/v4",
    path: `/api/v4/projects/acme%2Fnet%2Fpolicy/statuses/${COMMIT}`,
    operation: "#/paths/~1projects~1%7Bid%7D~1statuses~1%7Bsha%7D/post",
    scheme: "Bearer",
    words: { pending: "running", success: "success", failure: "failed", error: "failed" },
    contextField: "name",
    answer: ({ state, name, ref, description }) => ({
      ...{ id: 1, sha: COMMIT, ref, status: state, name, description, created_at: "2025-01-01T00:00:00Z", author: {} },
    }),
    rows: [
      ...common,
      [
        "GD12 400 for the state that it is in already",
        {
          status: 400,
          body: {
            message: "Cannot transition status via :succeed from :success (Reason(s): Status cannot transition)",
          },
        },
        "posted",
      ],
      [
        "GD12 400 for another state than it is in",
        { status: 400, body: { message: "Cannot transition status via :succeed from :canceled" } },
        "drop",
        /from :canceled/,
      ],
      ["GD12 409 while the pipeline is locked", { status: 409, body: { message: "Conflict" } }, "retry", /busy.*409/],
    ],
  },
  {
    name: "gitea",
    forge: describeGitea("acme/policy"),
    base: "/api/v1",
    path: `/api/v1/repos/acme/policy/statuses/${COMMIT}`,
    operation: "#/paths/~1repos~1%7Bowner%7D~1%7Brepo%7D~1statuses~1%7Bsha%7D/post",
    scheme: "token",
    words: { pending: "pending", success: "success", failure: "failure", error: "error" },
    contextField: "context",
    answer: ({ state, context, description }) => ({
      ...{
        id: 1,
        status: state,
        context,
        description,
        url: "https://forge.example/x",
        created_at: "2025-01-01T00:00:00Z",
      },
    }),
    rows: [
      ...common,
      [
        "GD11 404 for an unknown commit",
        { status: 404, body: { message: "object does not exist [id: 0123, rel_path: ]" } },
        "retry",
        /does not know the commit/,
      ],
    ],
  },
];

describe.each(kinds)("$name", (kind) => {
  const description = JSON.parse(
    readFileSync(new URL(`../fixtures/${kind.name}/commit-statuses.openapi.json`, import.meta.url), "utf8"),
  );
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  ajv.addSchema(description, "forge");
  const isRequest = ajv.compile({ $ref: `forge${kind.operation}/requestBody/content/application~1json/schema` });
  const isStatus = ajv.compile({ $ref: "forge#/components/schemas/status" });
  const folder = mkdtempSync(join(tmpdir(), "clawgress-forge-"));
  const tokenFile = join(folder, "token");
  const seen: Seen[] = [];
  let answers: Answer[] = [];
  let client: StatusClient;

  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = JSON.parse(Buffer.concat(chunks).toString("utf8")) as Seen["body"];
      seen.push({ path: `${request.method} ${request.url}`, authorization: request.headers.authorization, body });
      const isRight = isRequest(body) && request.headers["content-type"] === "application/json";
      const repeated = isRight ? kind.answer(body) : {};
      if (isRight) expect(isStatus(repeated), JSON.stringify(isStatus.errors)).toBe(true);
      const answer = answers.shift() ?? (isRight ? { status: 201, body: repeated } : { status: 422 });
      response.writeHead(answer.status, answer.headers);
      response.end(typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body ?? {}));
    });
  });
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    writeFileSync(tokenFile, "t0ken\n");
    client = openForge(kind.forge, {
      ...{ api: `http://127.0.0.1:${port}${kind.base}`, tokenFile, caFile: null, proxy: null },
      ...{ dnsServers: [], dnsPort: 53, nowMs: () => Date.parse("2025-01-01T00:00:00Z") },
    });
  });
  beforeEach(() => {
    seen.length = 0;
    answers = [];
  });
  afterAll(async () => {
    await client.close();
    server.close();
    rmSync(folder, { recursive: true });
  });
  const post = async (state: Status["state"] = "success") =>
    await client.post(COMMIT, "clawgress/gw-1", { state, description: "serial 1" }, new AbortController().signal);

  test.each(states)("the state %s is a request that the forge describes", async (state) => {
    expect(await post(state)).toEqual({ kind: "posted" });
    const [request] = seen;
    expect(request).toMatchObject({ path: `POST ${kind.path}`, authorization: `${kind.scheme} t0ken` });
    expect(request?.body).toMatchObject({
      ...{ state: kind.words[state], [kind.contextField]: "clawgress/gw-1", description: "serial 1" },
      ...(kind.name === "gitlab" ? { ref: "main" } : {}),
    });
  });

  test.each(kind.rows.map((row) => [row[0], row] as const))("%s", async (_, [, answer, want, reason]) => {
    answers = [answer];
    const delivery = await post();
    expect(delivery.kind).toBe(want);
    if (reason !== undefined) expect(delivery).toMatchObject({ reason: expect.stringMatching(reason) });
    expect(JSON.stringify(delivery)).not.toContain("t0ken");
    expect(seen).toHaveLength(1);
  });

  test("GD10 GD12 an outbox posts each news once, and never asks for a list", async () => {
    const file = join(folder, "outbox.json");
    const reporter = await startReporter(client, "clawgress/gw-1", file, pino({ level: "silent" }), () => 1);
    const { signal } = new AbortController();
    answers = [{ status: 502 }];
    await reporter.post(COMMIT, { kind: "seen" });
    await reporter.drain(signal);
    await reporter.post(COMMIT, { kind: "refused", code: "TRUST_UNSIGNED", message: "nobody signed" });
    await reporter.post(COMMIT, { kind: "refused", code: "TRUST_UNSIGNED", message: "nobody signed" });
    const again = await startReporter(client, "clawgress/gw-1", file, pino({ level: "silent" }), () => 1);
    const drainAndCount = async (): Promise<number> => {
      await again.drain(signal);
      return again.state().queued;
    };
    await expect.poll(drainAndCount, { timeout: 10_000 }).toBe(0);
    expect(seen.map(({ path }) => path)).toEqual([`POST ${kind.path}`, `POST ${kind.path}`]);
    expect(seen.map(({ body }) => body["state"])).toEqual([kind.words.pending, kind.words.failure]);
  });
});

describe("agent.json", () => {
  const parse = (report: object) => {
    const base = JSON.parse(readFileSync(new URL("../../examples/agent.json", import.meta.url), "utf8"));
    return parseSettings(Buffer.from(JSON.stringify({ ...base, report })), "agent.json");
  };
  const tokenFile = "/etc/clawgress/token";
  test.each([
    [{ github: { repository: "a/b", tokenFile } }, { kind: "github", api: "https://api.github.com" }],
    [{ gitlab: { repository: "a/b/c", tokenFile } }, { kind: "gitlab", api: "https://gitlab.com/api/v4" }],
    [{ gitlab: { repository: "42", tokenFile } }, { kind: "gitlab", repository: "42" }],
    [
      { gitea: { api: "https://f.example/api/v1/", repository: "a/b", tokenFile } },
      { api: "https://f.example/api/v1" },
    ],
  ])("%j is a forge", (report, forge) => {
    expect(parse(report)).toMatchObject({ ok: true, settings: { report: { forge } } });
  });
  test.each([
    [{ github: { repository: "a/b", tokenFile }, gitlab: { repository: "a/b", tokenFile } }],
    [{ gitea: { repository: "a/b", tokenFile } }],
    [{ gitlab: { repository: "a b", tokenFile } }],
  ])("%j is refused", (report) => {
    expect(parse(report).ok).toBe(false);
  });
});
