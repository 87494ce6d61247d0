import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runChecked } from "../../agent/host/run.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { gitEnv } from "../lab/repositories.ts";

let lab: Lab;
let sha: string;

interface Answer {
  readonly status: number;
  readonly headers: string;
  readonly body: { readonly message?: string; readonly errors?: readonly { readonly message: string }[] };
}

/** Sends a request from the gateway; null takes a header away. */
async function send(
  path: string,
  body: unknown,
  headers: { readonly [name: string]: string | null } = {},
): Promise<Answer> {
  const sent: { [name: string]: string | null } = {
    authorization: `Bearer ${lab.statuses.token}`,
    accept: "application/vnd.github+json",
    "content-type": "application/json",
    "x-github-api-version": "2022-11-28",
    "user-agent": "test",
    ...headers,
  };
  // curl sends some headers by itself; "Name:" takes them away.
  const lines = Object.entries(sent).map(([name, value]) => (value === null ? `${name}:` : `${name}: ${value}`));
  const data = body === undefined ? [] : ["--data-binary", typeof body === "string" ? body : JSON.stringify(body)];
  const text = await lab.execChecked("gateway", [
    ...["curl", "-si", "--resolve", `api.lab.test:443:${lab.addresses.api.v4}`],
    ...lines.flatMap((line) => ["-H", line]),
    ...data,
    `${lab.statuses.api}${path}`,
  ]);
  const [head = "", ...rest] = text.split("\r\n\r\n");
  return { status: Number(head.split(" ")[1]), headers: head.toLowerCase(), body: JSON.parse(rest.join("\r\n\r\n")) };
}

const at = (): string => `/repos/acme/egress/statuses/${sha}`;
const good = { state: "success", context: "clawgress/gw1", description: "applied", target_url: "https://gw1.test/" };

beforeAll(async () => {
  lab = await startLab();
  const repository = await lab.git.createRepository("acme/egress");
  const clone = await repository.clone();
  const git = (...args: string[]) => runChecked(["git", "-C", clone, ...args], { timeoutMs: 5000, env: gitEnv });
  await git("commit", "-q", "--allow-empty", "-m", "first");
  await git("push", "-q", "origin", "main");
  sha = (await git("rev-parse", "HEAD")).trim();
});

afterAll(async () => {
  await lab?.stop();
});

describe("the status server", () => {
  test("accepts and records a good status, and lists it newest first", async () => {
    const created = await send(at(), good);
    expect(created).toMatchObject({
      status: 201,
      body: { state: "success", context: "clawgress/gw1", description: "applied" },
    });
    expect(created.headers).toContain("location: https://api.lab.test/repos/acme/egress/statuses/");
    await send(at(), { state: "failure" });
    const listed = await send(`/repos/acme/egress/commits/${sha}/statuses?per_page=1`, undefined);
    expect(listed).toMatchObject({ status: 200, body: [{ state: "failure", context: "default" }] });
    expect(listed.headers).toContain('rel="next"');
    expect(await lab.statuses.posted()).toMatchObject([
      { repository: "acme/egress", sha, context: "clawgress/gw1", state: "success", targetUrl: "https://gw1.test/" },
      { context: "default", state: "failure", description: null, targetUrl: null },
    ]);
    expect(await lab.statuses.violations()).toEqual([]);
  });

  const longest = "x".repeat(140);
  test.each([
    ["no token", {}, { authorization: null }, 401, "Requires authentication"],
    ["a wrong token", {}, { authorization: "Bearer wrong" }, 401, "Bad credentials"],
    ["no API version", {}, { "x-github-api-version": null }, 400, "X-GitHub-Api-Version"],
    ["an unknown API version", {}, { "x-github-api-version": "1999-01-01" }, 400, "X-GitHub-Api-Version"],
    ["no user agent", {}, { "user-agent": null }, 403, "User-Agent"],
    ["an Accept header for something else", {}, { accept: "text/html" }, 415, "Accept"],
    ["a form instead of JSON", {}, { "content-type": "application/x-www-form-urlencoded" }, 415, "content-type"],
    ["a state that does not exist", { state: "running" }, {}, 422, "state"],
    ["no state", { state: undefined }, {}, 422, "state"],
    ["a description of 141 characters", { description: `${longest}x` }, {}, 422, "description is too long"],
    ["a context that is no string", { context: 1 }, {}, 422, "context"],
    ["a target that is no web address", { target_url: "javascript:1" }, {}, 422, "target_url"],
  ] as const)("refuses %s", async (_, change, headers, status, reason) => {
    await lab.statuses.forget();
    expect((await send(at(), { ...good, ...change }, headers)).status).toBe(status);
    expect(await lab.statuses.violations()).toMatchObject([{ reason: expect.stringContaining(reason) }]);
    expect(await lab.statuses.posted()).toEqual([]);
  });

  test("refuses text that is not JSON", async () => {
    expect(await send(at(), "{")).toMatchObject({ status: 400, body: { message: "Problems parsing JSON" } });
  });

  test("takes 140 characters, counted as people do", async () => {
    expect((await send(at(), { ...good, description: "é".repeat(139).concat("🙂") })).status).toBe(201);
  });

  test.each([
    [
      "a commit that does not exist",
      (): string => `/repos/acme/egress/statuses/${"0".repeat(40)}`,
      422,
      "No commit found for SHA",
    ],
    ["a short sha", (): string => `/repos/acme/egress/statuses/${sha.slice(0, 7)}`, 422, "No commit found for SHA"],
    ["a branch name", (): string => "/repos/acme/egress/statuses/main", 422, "No commit found for SHA"],
    ["another repository", (): string => `/repos/acme/other/statuses/${sha}`, 404, "Not Found"],
    ["a way out of the folder", (): string => `/repos/..%2f..%2facme/egress/statuses/${sha}`, 404, "Not Found"],
    ["another operation", (): string => `/repos/acme/egress/commits/${sha}/comments`, 404, "Not Found"],
  ] as const)("knows no %s", async (_, path, status, message) => {
    const answer = await send(path(), good);
    expect(answer.status).toBe(status);
    expect(answer.body.message).toContain(message);
  });

  test("counts a context whatever its case, up to the limit", async () => {
    await lab.statuses.forget();
    await lab.statuses.limit(2);
    expect((await send(at(), good)).status).toBe(201);
    expect((await send(at(), { ...good, context: "CLAWGRESS/gw1" })).status).toBe(201);
    const refused = await send(at(), good);
    expect(refused).toMatchObject({ status: 422, body: { message: "Validation Failed" } });
    expect(refused.body.errors?.[0]?.message).toContain("maximum number of statuses");
    expect((await send(at(), { ...good, context: "clawgress/gw2" })).status).toBe(201);
    await lab.statuses.limit(1000);
  });

  test("fails on request, for as often as it was told", async () => {
    await lab.statuses.fault({ kind: "status", status: 500 }, 2);
    expect([(await send(at(), good)).status, (await send(at(), good)).status, (await send(at(), good)).status]).toEqual(
      [500, 500, 201],
    );
    await lab.statuses.fault({ kind: "rate-limit", retryAfterS: 7 }, 1);
    const limited = await send(at(), good);
    expect(limited.status).toBe(403);
    expect(limited.headers).toContain("retry-after: 7");
    await lab.block([{ to: lab.addresses.api.v4, protocol: "tcp", port: 443, how: "reset" }]);
    await expect(send(at(), good)).rejects.toMatchObject({ code: "HOST_COMMAND" });
    await lab.block([]);
    expect((await send(at(), good)).status).toBe(201);
  });
});
