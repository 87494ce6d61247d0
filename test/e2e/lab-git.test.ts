import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runChecked } from "../../agent/host/run.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { type GitFault, gitEnv, type LabRepository } from "../lab/repositories.ts";

let lab: Lab;
let repository: LabRepository;
let head: string;

/** Runs git on the gateway, with the lab's token. */
async function git(argv: readonly string[], options: { timeoutMs?: number; host?: string } = {}) {
  const host = options.host ?? lab.addresses.git.v4;
  const login = Buffer.from(`lab:${lab.git.token}`).toString("base64");
  const config = [`http.curloptResolve=git.lab.test:443:${host}`, `http.extraHeader=Authorization: Basic ${login}`];
  return await lab.exec("gateway", ["git", ...config.flatMap((line) => ["-c", line]), ...argv], {
    env: gitEnv,
    timeoutMs: options.timeoutMs ?? 10_000,
  });
}

beforeAll(async () => {
  lab = await startLab();
  repository = await lab.git.createRepository("acme/egress");
  const clone = await repository.clone();
  const inClone = (...args: string[]) => runChecked(["git", "-C", clone, ...args], { timeoutMs: 5000, env: gitEnv });
  await writeFile(join(clone, "policy.json"), '{"version":1}\n');
  await inClone("add", ".");
  await inClone("commit", "-q", "-m", "first");
  await inClone("push", "-q", "origin", "main");
  head = (await inClone("rev-parse", "HEAD")).trim();
});

afterAll(async () => {
  await lab?.stop();
});

describe("the Git server", () => {
  test("serves what was pushed by path, over both families", async () => {
    for (const host of [lab.addresses.git.v4, `[${lab.addresses.git.v6}]`]) {
      const listed = await git(["ls-remote", repository.url], { host });
      expect(listed).toMatchObject({ exitCode: 0, stdout: `${head}\tHEAD\n${head}\trefs/heads/main\n` });
    }
    const target = join(lab.folder, "fetched");
    expect(await git(["clone", "-q", repository.url, target])).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await readFile(join(target, "policy.json"), "utf8")).toBe('{"version":1}\n');
  });

  test("wants the token, in whichever form", async () => {
    const curl = async (...headers: string[]) => {
      const url = `${repository.url}/info/refs?service=git-upload-pack`;
      const options = ["-s", "-o", "/dev/null", "-w", "%{http_code}"];
      const resolve = ["--resolve", `git.lab.test:443:${lab.addresses.git.v4}`];
      const argv = ["curl", ...options, ...resolve, ...headers.flatMap((header) => ["-H", header]), url];
      return await lab.execChecked("gateway", argv);
    };
    expect(await curl()).toBe("401");
    expect(await curl("Authorization: Bearer wrong")).toBe("401");
    expect(await curl(`Authorization: Basic ${Buffer.from("x:wrong").toString("base64")}`)).toBe("401");
    expect(await curl(`Authorization: Bearer ${lab.git.token}`)).toBe("200");
    expect(await curl(`Authorization: Basic ${Buffer.from(`x:${lab.git.token}`).toString("base64")}`)).toBe("200");
    await lab.git.requireToken(false);
    expect(await curl()).toBe("200");
    await lab.git.requireToken(true);
  });

  test("counts requests, connections and bytes on the wire since the mark", async () => {
    await lab.mark();
    await git(["ls-remote", repository.url]);
    const counters = await lab.git.counters();
    expect(counters.requests.map(({ step, status }) => [step, status])).toEqual([
      ["info-refs", 200],
      ["ls-refs", 200],
    ]);
    expect(counters.connections).toBe(1);
    const wire = await lab.packets({ to: lab.addresses.git.v4, port: 443 });
    // Payload on the wire is what the packets hold without their IP and TCP headers (52 bytes with timestamps, SYN 60).
    expect(Math.abs(wire.bytes - (wire.packets * 52 + 8) - counters.bytesIn)).toBeLessThan(100);
    expect(counters.bytesOut).toBeGreaterThan(1000);
  });
});

describe("its faults", () => {
  const rows: readonly (readonly [GitFault, RegExp])[] = [
    [{ kind: "status", status: 401 }, /Authentication failed|could not read Username/],
    [{ kind: "status", status: 403 }, /403/],
    [{ kind: "status", status: 500 }, /500/],
    [{ kind: "status", status: 502 }, /502/],
    [{ kind: "html" }, /not valid|not found|protocol|dumb|info\/refs/],
    [
      { kind: "redirect", location: "https://git.lab.test/elsewhere.git/info/refs?service=git-upload-pack" },
      /elsewhere|redirect|not found/,
    ],
    [{ kind: "empty" }, /./],
    [{ kind: "reset" }, /reset|closed|unexpected eof|recv/i],
    [{ kind: "cut" }, /reset|closed|eof|transfer|early/i],
    [{ kind: "truncate" }, /hung up|eof|early|unexpected|expected flush/i],
  ];
  test.each(rows)("%o makes git fail, once", async (fault, complaint) => {
    await lab.git.fault(fault, { times: 1 });
    const hit = await git(["ls-remote", repository.url]);
    expect(hit.exitCode).not.toBe(0);
    expect(hit.stderr).toMatch(complaint);
    await lab.git.fault(null);
    expect((await git(["ls-remote", repository.url])).exitCode).toBe(0);
  });

  test.each([["silence"], ["slow"]] as const)("%s outlasts a deadline", async (kind) => {
    await lab.git.fault({ kind });
    await expect(git(["ls-remote", repository.url], { timeoutMs: 1500 })).rejects.toMatchObject({
      code: "HOST_COMMAND",
    });
    await lab.git.fault(null);
  });

  test("flip spoils the pack and nothing before it", async () => {
    await lab.git.fault({ kind: "flip" });
    await lab.mark();
    const clone = await git(["clone", "-q", repository.url, join(lab.folder, "flipped")]);
    expect(clone.exitCode).not.toBe(0);
    expect(clone.stderr).toMatch(/pack|inflate|corrupt|checksum|SHA1/i);
    expect((await lab.git.counters()).requests.map(({ step, status }) => [step, status])).toEqual([
      ["info-refs", 200],
      ["ls-refs", 200],
      ["fetch", 200],
    ]);
    await lab.git.fault(null);
  });

  test.each([["ls-refs"], ["fetch"]] as const)("endless %s never ends", async (step) => {
    await lab.git.fault({ kind: "endless" }, { step });
    await lab.mark();
    const target = join(lab.folder, `endless-${step}`);
    await expect(git(["clone", "-q", repository.url, target], { timeoutMs: 1000 })).rejects.toMatchObject({
      code: "HOST_COMMAND",
    });
    expect((await lab.git.counters()).bytesOut).toBeGreaterThan(1_000_000);
    await lab.git.fault(null);
  });
});
