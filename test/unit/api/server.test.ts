import { createHmac } from "node:crypto";
import { connect } from "node:net";
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterEach, describe, expect, test } from "vitest";
import { buildTestApi, KEYS, type TestApi, WEBHOOK_SECRET } from "../../support/api-server.ts";

const POLICY = "/api/clawgress/policy";
const policy = { version: 1, allow: { domains: ["api.openai.com"], ports: [443] } };

let api: TestApi;
afterEach(async () => {
  await api?.app.close();
});

describe("keys", () => {
  test("none, a wrong one, one that is no text: 401, and nothing of the body is judged", async () => {
    api = await buildTestApi();
    for (const key of [undefined, "", "wrong", 7, null, ["key-propose"], { key: "key-propose" }, "k".repeat(5000)]) {
      const { status, body, headers } = await api.post(POLICY, { key, policy: "no policy" });
      expect(status, JSON.stringify(key)).toBe(401);
      expect(body).toEqual({ success: false, data: null, error: "Valid API key is required" });
      expect(headers["www-authenticate"]).toMatch(/^Bearer/);
    }
    expect(api.proposals).toEqual([]);
  });

  test("in the body, in the header: the same", async () => {
    api = await buildTestApi();
    expect((await api.post(POLICY, { key: KEYS.propose, policy })).status).toBe(200);
    expect((await api.post(POLICY, { policy }, { authorization: `Bearer ${KEYS.propose}` })).status).toBe(200);
    expect((await api.post(POLICY, { policy }, { "x-api-key": KEYS.propose })).status).toBe(200);
    expect(api.proposals.map(({ by }) => by)).toEqual(["who-may-propose", "who-may-propose", "who-may-propose"]);
  });

  test("each may do what its scope says", async () => {
    api = await buildTestApi();
    const refused = await api.post(POLICY, { key: KEYS.read, policy });
    expect(refused).toMatchObject({ status: 403, body: { success: false, error: /may propose/ } });
    expect((await api.post("/api/clawgress/poll", { key: KEYS.propose })).status).toBe(403);
    expect((await api.post("/api/clawgress/poll", { key: KEYS.operate })).status).toBe(200);
    expect((await api.post("/api/clawgress/telemetry", { key: KEYS.read })).status).toBe(200);
  });

  test("every call is in the log by the key's name, and no key is", async () => {
    api = await buildTestApi();
    await api.post(POLICY, { key: KEYS.propose, policy });
    await api.post(POLICY, { key: "wrong", policy });
    expect(api.calls).toMatchObject([
      { event: "api-call", path: POLICY, status: 200, key: "who-may-propose" },
      { event: "api-call", path: POLICY, status: 401, key: null },
    ]);
    expect(JSON.stringify(api.calls)).not.toContain(KEYS.propose);
  });

  test("too many calls of a key are refused for a while, and those of others are not", async () => {
    api = await buildTestApi({ requestsPerMinute: 3 });
    const statuses = [];
    for (let call = 0; call < 5; call++)
      statuses.push((await api.post("/api/clawgress/telemetry", { key: KEYS.read })).status);
    expect(statuses).toEqual([200, 200, 200, 429, 429]);
    expect((await api.post("/api/clawgress/telemetry", { key: KEYS.propose })).status).toBe(200);
    // Who guesses is limited by address.
    const guesses = [];
    for (let call = 0; call < 5; call++)
      guesses.push((await api.post("/api/clawgress/telemetry", { key: `guess-${call}` })).status);
    expect(guesses).toEqual([401, 401, 401, 429, 429]);
  });
});

describe("hostile bodies", () => {
  const nested = (depth: number): string =>
    `{"key":"${KEYS.propose}","policy":${'{"a":'.repeat(depth)}1${"}".repeat(depth)}}`;
  const call = (rest: string): string => `{"key":"${KEYS.propose}",${rest}}`;
  const bodies: readonly (readonly [what: string, body: string | Buffer, status: number, error: RegExp])[] = [
    ["no JSON", "{", 400, /no JSON/],
    [
      "not UTF-8",
      Buffer.concat([
        Buffer.from(`{"key":"${KEYS.propose}","policy":{"version":1,"labels":{"a":"`),
        Buffer.from([0xff, 0xfe]),
        Buffer.from('"}}}'),
      ]),
      400,
      /POLICY_INVALID/,
    ],
    ["empty", "", 401, /key/],
    ["a list", "[]", 401, /key/],
    ["null", "null", 401, /key/],
    ["a text for a policy", call('"policy":"x"'), 400, /policy/],
    ["no policy", call('"apply":true'), 400, /policy/],
    ["an unknown key", call('"policy":{},"extra":1'), 400, /additional/],
    ["apply that is no truth value", call('"policy":{},"apply":"yes"'), 400, /apply/],
    [
      "a key twice",
      call('"policy":{"version":1,"allow":{"domains":["a.com"]},"allow":{"domains":["b.com"]}}'),
      400,
      /twice|duplicate|already/i,
    ],
    [
      "__proto__",
      call('"policy":{"version":1,"__proto__":{"allow":{"domains":["a.com"]}}}'),
      400,
      /POLICY_INVALID|USAGE/,
    ],
    ["nested a little too deep", nested(200), 400, /POLICY_INVALID/],
    ["nested 100,000 deep", nested(100_000), 400, /POLICY_INVALID|USAGE/],
    ["a number that is none", call('"policy":{"version":1e999}'), 400, /POLICY_INVALID/],
    ["two megabytes", call(`"policy":{"labels":{"a":"${"x".repeat(2 * 1024 * 1024)}"}}`), 413, /large/i],
    ["a reason without end", call(`"policy":{},"reason":"${"x".repeat(3000)}"`), 400, /reason/],
  ];
  test.each(bodies)("%s is refused with a reason", async (_what, body, status, error) => {
    api = await buildTestApi();
    const reply = await api.post(POLICY, body);
    expect(reply.body).toMatchObject({ success: false, data: null });
    expect(reply.body.error).toMatch(error);
    expect(reply.status).toBe(status);
    expect(api.proposals).toEqual([]);
  });

  test("whatever its type says, JSON is JSON: the first call of everybody says that it is a form", async () => {
    api = await buildTestApi();
    for (const type of ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=latin1"]) {
      const { status } = await api.post(POLICY, { key: KEYS.propose, policy }, { "content-type": type });
      expect(status, type).toBe(200);
    }
  });

  test("an unknown call, a wrong method, a path that climbs", async () => {
    api = await buildTestApi();
    for (const url of ["/", "/api/clawgress/nothing", "/api/clawgress/../../etc/passwd", `/${"a".repeat(3000)}`]) {
      const reply = await api.app.inject({ method: "GET", url });
      expect(reply.statusCode, url).toBe(404);
      expect(JSON.parse(reply.body)).toMatchObject({ success: false });
    }
  });

  test("a client that sends its head or body a byte at a time is cut off, and others are served meanwhile", async () => {
    api = await buildTestApi({}, { requestTimeoutMs: 400 });
    await api.app.listen({ host: "127.0.0.1", port: 0 });
    const { port } = api.app.server.address() as { port: number };
    const slow = [
      "POST /api/clawgress/policy HTTP/1.1\r\nhost: x\r\n",
      `POST ${POLICY} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{`,
    ].map(
      (start) =>
        new Promise<number>((resolve) => {
          const startedMs = performance.now();
          const socket = connect(port, "127.0.0.1", () => socket.write(start));
          const drip = setInterval(() => socket.write(" "), 50);
          socket.on("error", () => {});
          socket.on("close", () => {
            clearInterval(drip);
            resolve(performance.now() - startedMs);
          });
          socket.resume();
        }),
    );
    const fine = await fetch(`http://127.0.0.1:${port}/metrics`);
    expect(fine.status).toBe(200);
    for (const ms of await Promise.all(slow)) expect(ms).toBeLessThan(3000);
  });

  test("a hundred writers at once: each is answered, and each answer is a change that was made or a refusal", async () => {
    api = await buildTestApi();
    const replies = await Promise.all(
      Array.from({ length: 100 }, (_value, writer) =>
        api.post(POLICY, { key: KEYS.propose, policy: { version: 1, allow: { domains: [`w${writer}.test`] } } }),
      ),
    );
    const made = replies.filter(({ body }) => body.success).map(({ body }) => (body.data as { commit: string }).commit);
    expect(made.length).toBe(api.proposals.length);
    expect(made.length).toBeGreaterThan(0);
    expect(new Set(made).size).toBe(made.length);
    for (const { status, body } of replies.filter((reply) => !reply.body.success)) {
      expect([429, 503]).toContain(status);
      expect(body.error).toMatch(/again|many/i);
    }
  });
});

describe("answers", () => {
  test("a dry run changes nothing and has the verdict of each check", async () => {
    api = await buildTestApi();
    const good = await api.post(POLICY, { key: KEYS.propose, policy, apply: false });
    expect(good.body).toMatchObject({ success: true, data: { applied: false, ok: true, checks: [{ ok: true }] } });
    const bad = await api.post(POLICY, { key: KEYS.propose, policy: { version: 1 }, apply: false });
    expect(bad.body).toMatchObject({ success: true, data: { applied: false, ok: false } });
    expect(api.proposals).toEqual([]);
  });

  test("the views of telemetry are asked for as they should be", async () => {
    api = await buildTestApi();
    const ask = (body: object) => api.post("/api/clawgress/telemetry", { key: KEYS.read, ...body });
    expect((await ask({})).body.data).toEqual({ view: "agents", target: null, window: "1h", redacted: true });
    expect((await ask({ view: "agent", target: "a", window: "5m", redact: false })).body.data).toEqual({
      ...{ view: "agent", target: "a", window: "5m", redacted: false },
    });
    for (const wrong of [
      { view: "agent" },
      { view: "denies", target: "x" },
      { view: "all" },
      { window: "2h" },
      { redact: "no" },
    ]) {
      expect((await ask(wrong)).status, JSON.stringify(wrong)).toBe(400);
    }
  });

  test("metrics are open where they may be, and need a key elsewhere", async () => {
    api = await buildTestApi();
    expect((await api.app.inject("/metrics")).body).toBe("up 1\n");
    await api.app.close();
    api = await buildTestApi({ metrics: "key" });
    expect((await api.app.inject("/metrics")).statusCode).toBe(401);
    const headers = { authorization: `Bearer ${KEYS.read}` };
    expect((await api.app.inject({ url: "/metrics", headers })).statusCode).toBe(200);
  });

  test("the OpenAPI description names every call, and its schemas are schemas", async () => {
    api = await buildTestApi();
    const document = JSON.parse((await api.app.inject("/api/clawgress/openapi.json")).body) as {
      readonly openapi: string;
      readonly paths: { readonly [path: string]: { readonly [method: string]: Operation } };
    };
    expect(document.openapi).toBe("3.1.0");
    const calls = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    );
    expect(calls.sort()).toEqual([
      "get /api/clawgress/decisions",
      "get /api/clawgress/policy",
      "get /api/clawgress/status",
      "get /metrics",
      "post /api/clawgress/health",
      "post /api/clawgress/policy",
      "post /api/clawgress/poll",
      "post /api/clawgress/telemetry",
      "post /api/clawgress/webhook/{forge}",
    ]);
    const ajv = new Ajv2020({ strict: false });
    for (const methods of Object.values(document.paths)) {
      for (const { requestBody, responses } of Object.values(methods)) {
        for (const { content } of [requestBody, ...Object.values(responses)].filter((part) => part !== undefined)) {
          for (const { schema } of Object.values(content ?? {}))
            expect(() => ajv.compile(schema as object)).not.toThrow();
        }
      }
    }
  });
});

interface Operation {
  readonly requestBody?: { readonly content?: { readonly [type: string]: { readonly schema: unknown } } };
  readonly responses: {
    readonly [status: string]: { readonly content?: { readonly [type: string]: { readonly schema: unknown } } };
  };
}

describe("GD16: webhooks", () => {
  const body = JSON.stringify({ ref: "refs/heads/main", after: "1".repeat(40) });
  const mac = (text: string, secret = WEBHOOK_SECRET): string =>
    createHmac("sha256", secret).update(text).digest("hex");
  const signed: { readonly [forge: string]: (text: string, secret?: string) => { readonly [header: string]: string } } =
    {
      github: (text, secret) => ({ "x-hub-signature-256": `sha256=${mac(text, secret)}`, "x-github-delivery": "a" }),
      gitlab: (text, secret = WEBHOOK_SECRET) => ({ "x-gitlab-token": secret, "x-gitlab-event-uuid": mac(text) }),
      gitea: (text, secret) => ({ "x-gitea-signature": mac(text, secret) }),
      forgejo: (text, secret) => ({ "x-forgejo-signature": mac(text, secret) }),
    };

  test.each(Object.keys(signed))("%s: signed it polls once; wrong, missing or replayed it is 401", async (forge) => {
    api = await buildTestApi();
    const path = `/api/clawgress/webhook/${forge}`;
    const sign = signed[forge] as (text: string, secret?: string) => { readonly [header: string]: string };
    expect((await api.post(path, body)).status).toBe(401);
    expect((await api.post(path, body, sign(body, "another secret"))).status).toBe(401);
    expect(api.polls()).toBe(0);
    expect((await api.post(path, body, sign(body))).status).toBe(202);
    expect(api.polls()).toBe(1);
    // The same delivery, and with another number in a header that nobody signs.
    expect((await api.post(path, body, sign(body))).status).toBe(401);
    if (forge === "github")
      expect((await api.post(path, body, { ...sign(body), "x-github-delivery": "b" })).status).toBe(401);
    if (forge !== "gitlab") expect((await api.post(path, `${body} `, sign(body))).status).toBe(401);
    expect(api.polls()).toBe(1);
    expect((await api.post(path, `${body}\n`, sign(`${body}\n`))).status).toBe(202);
    expect(api.polls()).toBe(2);
    expect(api.proposals).toEqual([]);
  });

  test("of a forge that nobody knows", async () => {
    api = await buildTestApi();
    expect((await api.post("/api/clawgress/webhook/sourceforge", body)).status).toBe(400);
  });
});
