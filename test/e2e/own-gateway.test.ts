import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunResult, runChecked } from "../../agent/host/run.ts";
import statusSchema from "../../policy-schema/status.schema.json" with { type: "json" };
import telemetrySchema from "../../policy-schema/telemetry.schema.json" with { type: "json" };
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { type OwnGateway, seedReadme, setUpOwnGateway } from "../support/own-gateway.ts";

/** A gateway without a forge: what the first README of the project shows works as it shows it, and is in a history. */

let lab: Lab;
let gateway: OwnGateway;
let agent: LabProcess;
let key = "";
let readme = "";

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpOwnGateway(lab);
  agent = gateway.start();
  readme = await seedReadme();
  await eventually("the API answers", async () => (await gateway.curl([`${gateway.url}/metrics`])).status === 200);
  key = await gateway.key("operator");
  await eventually("what init committed is in force", async () => (await gateway.clawgress(["status"])).exitCode === 0);
});

afterAll(async () => {
  await agent?.kill("SIGTERM");
  await lab?.stop();
});

/** The blocks of a language under a heading. */
function blocksOf(heading: string, language: string): readonly string[] {
  const section = readme.split(/^## /m).find((text) => text.startsWith(heading)) ?? "";
  return [...section.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, "g"))].map(([, text]) => text ?? "");
}

const git = (...argv: string[]): Promise<string> =>
  runChecked(["git", "-C", gateway.repository, ...argv], {
    timeoutMs: 20_000,
    env: { GIT_CONFIG_GLOBAL: "/dev/null" },
  });
const post = async (path: string, body: object) =>
  await gateway.curl(["-X", "POST", `${gateway.url}/api/clawgress/${path}`, "-d", JSON.stringify({ key, ...body })]);
const reaches = async (name: string): Promise<boolean> =>
  (await lab.client("agent2").connect(name, 443)).outcome === "connected";

/**
 * Runs a line as a person types it: `clawgress` is found as a package installs it, and `/tmp` holds the file that the line
 * names, but is no other lab's.
 */
async function asTyped(line: string): Promise<RunResult> {
  const bin = join(gateway.folder, "bin");
  await mkdir(bin, { recursive: true });
  const program = join(lab.folder, "program", "dist", "clawgress.mjs");
  const wrapper = `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@" --config '${gateway.configFile}'\n`;
  await writeFile(join(bin, "clawgress"), wrapper, { mode: 0o755 });
  const ownTmp = 'mount --bind "$1" /mnt && mount -t tmpfs none /tmp && mkdir -p "$1" && mount --bind /mnt "$1"';
  const script = `${ownTmp} && cp "$1/gateway/my-policy.json" /tmp && PATH="$1/gateway/bin:$PATH" exec bash -c "$2"`;
  return await lab.exec("gateway", ["unshare", "--mount", "bash", "-c", script, "bash", lab.folder, line], {
    timeoutMs: 60_000,
  });
}

describe("the first README", () => {
  test("its policy is accepted as it stands there", async () => {
    const [policy = ""] = blocksOf("Policy Format", "json");
    const { body } = await post("policy", { policy: JSON.parse(policy), apply: false });
    expect(body).toMatchObject({ success: true, data: { ok: true, applied: false } });
  });

  test("each curl call works, unchanged but for host and key", async () => {
    const calls = blocksOf("API Usage", "bash")
      .flatMap((block) => block.split(/^(?=curl)/m))
      .filter((text) => text.startsWith("curl"));
    expect(calls).toHaveLength(2);
    expect(await reaches("api.openai.com")).toBe(false);
    for (const call of calls) {
      const text = call.replaceAll("https://clawgress", gateway.url).replaceAll("your-api-key", key);
      const { exitCode, stdout, stderr } = await lab.exec("gateway", ["bash", "-c", text], { timeoutMs: 60_000 });
      expect(exitCode, stderr).toBe(0);
      const answer = JSON.parse(stdout) as { success: boolean; data: { [field: string]: unknown } };
      expect(answer, stdout).toMatchObject({ success: true, error: null });
      if (call.includes("/policy")) expect(answer.data).toMatchObject({ applied: true });
      else
        expect(answer.data).toMatchObject({
          bind9_active: true,
          nftables_active: true,
          policy_present: true,
          healthy: true,
        });
    }
    expect(await reaches("api.openai.com")).toBe(true);
    expect(await reaches("api.anthropic.com")).toBe(false);
  });

  test("each command works, and says what is true", async () => {
    const commands = blocksOf("CLI Commands", "bash").flatMap((block) =>
      [...block.matchAll(/^clawgress (.+)$/gm)].map(([, rest]) => rest ?? ""),
    );
    expect(commands).toEqual(["status", "stats", "firewall", "rpz", "policy import file /tmp/my-policy.json"]);
    const policy = {
      version: 1,
      allow: { domains: ["api.openai.com", "api.anthropic.com"], ports: [443] },
      labels: { "api.openai.com": "llm" },
    };
    const told: { [command: string]: RegExp } = {
      status: /^enforced {2}serial 2, .*\napproved {2}by gateway$/m,
      stats: /^denied in the last 24h .*: [1-9]/m,
      firewall: /table inet clawgress_base \{[\s\S]*table inet clawgress \{/,
      rpz: /proves that it enforces[\s\S]*^api\.openai\.com CNAME rpz-passthru\. ; policy\.json:5$/m,
      "policy import file /tmp/my-policy.json":
        /^\+ .*api\.anthropic\.com on 443\/tcp\nin force: serial 3, commit [0-9a-f]{40}$/m,
    };
    await writeFile(join(gateway.folder, "my-policy.json"), JSON.stringify(policy, null, 2));
    for (const command of commands) {
      const { exitCode, stdout, stderr } = await asTyped(`clawgress ${command}`);
      expect(exitCode, `${command}: ${stderr}`).toBe(0);
      expect(stdout, command).toMatch(told[command] ?? /./);
    }
    expect(await reaches("api.anthropic.com")).toBe(true);
  });
});

describe("its history", () => {
  test("is readable by any Git: who, when, why, signed", async () => {
    const log = await git("log", "--format=%G? %an|%s|%(trailers:key=Serial,valueonly,separator=%x2C)");
    const lines = log.trim().split("\n");
    expect(lines).toEqual(["G root|policy: serial 3|3", "G operator|policy: serial 2|2", "G init|policy: deny all|1"]);
    expect(await git("fsck", "--strict")).toBe("");
    expect(JSON.parse(await git("show", "main:policy.json"))).toMatchObject({ labels: { "api.openai.com": "llm" } });
  });

  test("an invalid policy is no commit; the answer has file, line and column", async () => {
    const before = await git("rev-parse", "main");
    const { body, status } = await post("policy", { policy: { version: 1, allow: { domains: ["a b"] } } });
    expect(status).toBe(400);
    expect(body).toMatchObject({ success: false, error: expect.stringMatching(/policy\.json:\d+:\d+/) });
    expect(await git("rev-parse", "main")).toBe(before);
  });

  test("what was tampered with is not enforced: the key alone approves", async () => {
    const head = (await git("rev-parse", "main")).trim();
    const work = join(gateway.folder, "work");
    await runChecked(["git", "clone", "--quiet", gateway.repository, work], { timeoutMs: 20_000 });
    await writeFile(join(work, "policy.json"), JSON.stringify({ version: 1, allow: { domains: ["*.denied.test"] } }));
    const asSomebody = ["-c", "user.name=x", "-c", "user.email=x@x", "-C", work];
    await runChecked(["git", ...asSomebody, "commit", "--quiet", "-am", "open it"], { timeoutMs: 20_000 });
    await runChecked(["git", "-C", work, "push", "--quiet", "origin", "main"], { timeoutMs: 20_000 });
    const status = async () => JSON.parse((await gateway.clawgress(["status", "--json"])).stdout);
    await eventually("it is refused", async () => (await status()).pending?.code === "TRUST_LOCK_MISMATCH");
    expect(await reaches("www.denied.test")).toBe(false);
    expect(await status()).toMatchObject({
      ok: true,
      confirmed: { commit: head, serial: 3 },
      degraded: [expect.stringContaining("TRUST_LOCK_MISMATCH")],
    });
    await git("update-ref", "refs/heads/main", head);
    await eventually("all is well again", async () => (await status()).degraded.length === 0);
  });
});

test("a hundred writers: every write is a commit, in its turn, or a clear refusal, and none is lost", async () => {
  const before = Number((await git("rev-list", "--count", "main")).trim());
  const argv = (writer: number): readonly string[] => [
    ...["-X", "POST", `${gateway.url}/api/clawgress/policy`, "-d"],
    JSON.stringify({
      key,
      reason: `writer ${writer}`,
      policy: { version: 1, allow: { domains: ["api.openai.com", `w${writer}.allowed.test`] } },
    }),
  ];
  const answers = await Promise.all(Array.from({ length: 100 }, (_value, writer) => gateway.curl(argv(writer))));
  const made = answers.filter(({ body }) => body.data?.["commit"] !== undefined);
  const refused = answers.filter(({ body }) => body.data === null);
  expect(made.length + refused.length).toBe(100);
  expect(made.length).toBeGreaterThan(5);
  for (const { status, body } of refused) {
    expect(status).toBe(503);
    expect(body.error).toMatch(/^PROPOSAL_BUSY: .*try again/);
  }
  for (const { body } of made) expect(body).toMatchObject({ success: true, data: { applied: true } });
  const commits = (await git("log", "--format=%H", `-${made.length}`, "main")).trim().split("\n");
  expect(new Set(made.map(({ body }) => body.data?.["commit"]))).toEqual(new Set(commits));
  expect(Number((await git("rev-list", "--count", "main")).trim())).toBe(before + made.length);
}, 240_000);

test("what is told is as its schemas say; metrics and OpenAPI are served; a dry run and the webhook change nothing", async () => {
  const ajv = new Ajv2020({ strict: false });
  const status = JSON.parse((await gateway.clawgress(["status", "--json"])).stdout);
  const isStatus = ajv.compile(statusSchema);
  expect(isStatus(status), JSON.stringify(isStatus.errors)).toBe(true);
  // What was applied last was polled before it was.
  await eventually("a poll after the last apply", async () => {
    const { times } = JSON.parse((await gateway.clawgress(["status", "--json"])).stdout);
    return times.lastPoll >= times.lastApplied;
  });
  const isTelemetry = ajv.compile(telemetrySchema);
  for (const view of ["agents", "domains", "denies", "export"]) {
    const { body } = await post("telemetry", { view, window: "1h" });
    expect(isTelemetry(body.data), `${view} ${JSON.stringify(isTelemetry.errors)}`).toBe(true);
  }
  const bearer = ["-H", `Authorization: Bearer ${key}`];
  const served = await gateway.curl([...bearer, `${gateway.url}/api/clawgress/status`]);
  expect(served.body).toMatchObject({ success: true, data: { confirmed: { commit: status.confirmed.commit } } });
  const enforced = await gateway.curl([...bearer, `${gateway.url}/api/clawgress/policy`]);
  expect(enforced.body).toMatchObject({
    success: true,
    data: { commit: status.confirmed.commit, policy: { version: 1 } },
  });
  const { text } = await gateway.curl([`${gateway.url}/metrics`]);
  expect(text).toMatch(/^clawgress_component_up\{component="gate"\} 1$/m);
  expect(text).toMatch(
    new RegExp(`^clawgress_policy_info\\{commit="${status.confirmed.commit}",signer="gateway"\\} 1$`, "m"),
  );
  expect(text).not.toContain("denied.test");
  const dry = await gateway.clawgress([
    "policy",
    "import",
    "file",
    join(gateway.folder, "my-policy.json"),
    "--dry-run",
    "--json",
  ]);
  expect(JSON.parse(dry.stdout)).toMatchObject({ ok: true });
  const glass = await gateway.clawgress([
    "policy",
    "import",
    "file",
    join(gateway.folder, "my-policy.json"),
    "--break-glass",
    "--reason",
    "x",
    "--for",
    "1m",
  ]);
  expect(glass.exitCode).toBe(2);
  expect((await gateway.log()).filter(({ event }) => event === "part-down")).toEqual([]);
});
