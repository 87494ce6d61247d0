// GitHub's commit status API, as far as a reporter uses it: requests are validated against an excerpt of GitHub's
// published OpenAPI description, and answers too.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { promisify } from "node:util";
import Ajv from "ajv";
import { plainAddress } from "./listeners.mjs";

const run = promisify(execFile);
const apiVersion = "2022-11-28";
const maxDescriptionChars = 140;
const maxPerContext = 1000;
const docs = "https://docs.github.com/rest/commits/statuses";
const routes = [
  { method: "POST", pattern: /^\/repos\/([^/]+)\/([^/]+)\/statuses\/([^/]+)$/, handle: create },
  { method: "GET", pattern: /^\/repos\/([^/]+)\/([^/]+)\/commits\/([^/]+)\/statuses$/, handle: list },
];

/** Returns a function that serves a raw connection, and the control methods. */
export function createStatusServer({ tls, root, token, openApiFile, maxStatuses = maxPerContext }) {
  const context = {
    root,
    token,
    maxStatuses,
    validate: compileSchemas(openApiFile),
    statuses: [],
    violations: [],
    requests: [],
    fault: null,
  };
  const server = createServer(tls, (request, response) => {
    void serve(request, response, context).catch((error) => send(response, 500, { message: error.message }));
  });
  server.on("tlsClientError", () => {});
  return {
    accept: (socket) => server.emit("connection", socket),
    methods: {
      "statuses.posted": () => context.statuses,
      "statuses.violations": () => context.violations,
      "statuses.requests": () => context.requests,
      "statuses.fault": ({ fault }) => {
        context.fault = fault;
      },
      "statuses.limit": ({ maxStatuses: limit }) => {
        context.maxStatuses = limit;
      },
      "statuses.forget": () => {
        for (const list of [context.statuses, context.violations, context.requests]) list.length = 0;
      },
    },
  };
}

function compileSchemas(openApiFile) {
  const description = JSON.parse(readFileSync(openApiFile, "utf8"));
  const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
  ajv.addSchema(description, "api");
  const body = "#/paths/~1repos~1{owner}~1{repo}~1statuses~1{sha}/post/requestBody/content/application~1json/schema";
  return {
    body: ajv.compile({ $ref: `api${body}` }),
    status: ajv.compile({ $ref: "api#/components/schemas/status" }),
    errors: (validator) => ajv.errorsText(validator.errors, { dataVar: "body" }),
  };
}

async function serve(request, response, context) {
  const url = new URL(request.url, "https://api.lab.test");
  const text = await readText(request);
  const record = {
    method: request.method,
    path: url.pathname,
    status: 0,
    from: plainAddress(request.socket.remoteAddress),
  };
  context.requests.push(record);
  response.once("finish", () => {
    record.status = response.statusCode;
  });
  if (takeFault(context, response)) return;
  const violate = (status, body, reason) => {
    context.violations.push({ method: request.method, path: url.pathname, reason });
    send(response, status, { ...body, documentation_url: docs, status: String(status) });
  };
  const wrong = headerFault(request, context.token);
  if (wrong !== null) return violate(wrong.status, { message: wrong.message }, wrong.message);
  const route = routes.find(({ method, pattern }) => method === request.method && pattern.test(url.pathname));
  if (route === undefined) return violate(404, { message: "Not Found" }, "no such operation");
  const [, owner, repository, reference] = route.pattern.exec(url.pathname).map(decodeURIComponent);
  const folder = `${context.root}/${owner}/${repository}.git`;
  if (!/^[\w.-]+$/.test(owner + repository) || !(await git(folder, "rev-parse", "--git-dir"))) {
    return violate(404, { message: "Not Found" }, `repository ${owner}/${repository} does not exist`);
  }
  await route.handle({ request, response, url, text, context, violate, owner, repository, reference, folder });
}

function headerFault(request, token) {
  const { headers } = request;
  if (headers["user-agent"] === undefined)
    return { status: 403, message: "Request forbidden by administrative rules. A User-Agent header is required." };
  if (headers.authorization === undefined) return { status: 401, message: "Requires authentication" };
  if (headers.authorization !== `Bearer ${token}`) return { status: 401, message: "Bad credentials" };
  if (headers["x-github-api-version"] !== apiVersion)
    return { status: 400, message: `X-GitHub-Api-Version must be ${apiVersion}` };
  if (!/^application\/(vnd\.github\+json|json)(;|,|$)/.test(headers.accept ?? ""))
    return { status: 415, message: "Accept must be application/vnd.github+json" };
  return null;
}

async function create({ request, response, text, context, violate, owner, repository, reference: sha, folder }) {
  if (!/^application\/json(;|$)/.test(request.headers["content-type"] ?? ""))
    return violate(415, { message: "Unsupported Media Type" }, "content-type is not application/json");
  const body = parseJson(text);
  if (body === undefined) return violate(400, { message: "Problems parsing JSON" }, "body is not JSON");
  if (!context.validate.body(body)) {
    const reason = context.validate.errors(context.validate.body);
    return violate(
      422,
      { message: "Validation Failed", errors: [{ resource: "Status", code: "custom", message: reason }] },
      reason,
    );
  }
  const refuse = (field, message) =>
    violate(
      422,
      { message: "Validation Failed", errors: [{ resource: "Status", code: "custom", field, message }] },
      message,
    );
  if ([...(body.description ?? "")].length > maxDescriptionChars)
    return refuse("description", `description is too long (maximum is ${maxDescriptionChars} characters)`);
  if (body.target_url && !/^https?:\/\//.test(body.target_url))
    return refuse("target_url", "target_url must use http(s) scheme");
  if (!/^[0-9a-f]{40}$/.test(sha) || !(await git(folder, "cat-file", "-e", `${sha}^{commit}`))) {
    return violate(422, { message: `No commit found for SHA: ${sha}` }, `no commit ${sha}`);
  }
  const name = body.context ?? "default";
  const same = context.statuses.filter(
    (status) =>
      status.sha === sha &&
      status.repository === `${owner}/${repository}` &&
      status.context.toLowerCase() === name.toLowerCase(),
  );
  if (same.length >= context.maxStatuses)
    return refuse(undefined, "This SHA and context has reached the maximum number of statuses.");
  const status = statusAnswer(context.statuses.length + 1, { owner, repository, sha, name, body });
  if (!context.validate.status(status))
    throw new Error(`own answer is wrong: ${context.validate.errors(context.validate.status)}`);
  context.statuses.push({
    repository: `${owner}/${repository}`,
    sha,
    context: name,
    state: body.state,
    description: body.description ?? null,
    targetUrl: body.target_url ?? null,
    id: status.id,
    answer: status,
  });
  response.setHeader("location", status.url);
  send(response, 201, status);
}

async function list({ response, url, context, violate, owner, repository, reference, folder }) {
  const sha = await git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", `${reference}^{commit}`);
  if (!sha) return violate(422, { message: `No commit found for SHA: ${reference}` }, `no commit ${reference}`);
  const perPage = Math.min(Number(url.searchParams.get("per_page") ?? 30) || 30, 100);
  const page = Math.max(Number(url.searchParams.get("page") ?? 1) || 1, 1);
  const found = context.statuses
    .filter((status) => status.sha === sha.trim() && status.repository === `${owner}/${repository}`)
    .reverse();
  const last = Math.max(Math.ceil(found.length / perPage), 1);
  const link = (to, rel) => `<https://api.lab.test${url.pathname}?per_page=${perPage}&page=${to}>; rel="${rel}"`;
  if (page < last) response.setHeader("link", `${link(page + 1, "next")}, ${link(last, "last")}`);
  send(
    response,
    200,
    found.slice((page - 1) * perPage, page * perPage).map((status) => status.answer),
  );
}

function statusAnswer(id, { owner, repository, sha, name, body }) {
  const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  return {
    url: `https://api.lab.test/repos/${owner}/${repository}/statuses/${sha}`,
    avatar_url: null,
    id,
    node_id: Buffer.from(`status${id}`).toString("base64"),
    state: body.state,
    description: body.description ?? null,
    target_url: body.target_url ?? null,
    context: name,
    created_at: now,
    updated_at: now,
    creator: null,
  };
}

function takeFault(context, response) {
  const fault = context.fault;
  if (fault === null) return false;
  if (fault.times !== null && --fault.times <= 0) context.fault = null;
  if (fault.kind === "silence") return true;
  if (fault.kind === "rate-limit") {
    response.setHeader("retry-after", String(fault.retryAfterS));
    response.setHeader("x-ratelimit-remaining", "0");
    send(response, 403, { message: "You have exceeded a secondary rate limit.", documentation_url: docs });
  } else send(response, fault.status, { message: `fault ${fault.status}` });
  return true;
}

/** Returns git's output, or "" when it fails; "ok" for a command that succeeds in silence. */
async function git(folder, ...args) {
  try {
    return (await run("git", ["-C", folder, ...args])).stdout || "ok";
  } catch {
    return "";
  }
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function readText(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > 1_000_000) throw new Error("body too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function send(response, status, body) {
  if (response.headersSent) return;
  response.writeHead(status, {
    "content-type": "application/json; charset=utf-8",
    "x-github-media-type": "github.v3; format=json",
  });
  response.end(JSON.stringify(body));
}
