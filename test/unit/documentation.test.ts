import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { codes } from "../../agent/errors.ts";
import { parsePolicy } from "../../agent/policy/parse-policy.ts";
import { reasons } from "../../agent/policy/reasons.ts";
import { buildProgram } from "../../agent/program.ts";
import { parseSettings } from "../../agent/settings/parse-settings.ts";
import { packetResiduals, tlsResiduals } from "../battery/residuals.ts";

/** What the documentation says is tried, so that it cannot go stale. */

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const sources = readdirSync(join(root, "agent"), { recursive: true, encoding: "utf8" }).filter((path) =>
  path.endsWith(".ts"),
);
const cli = ["program", "face-verbs"].map((name) => read(join("agent", `${name}.ts`))).join("\n");
const verbs = buildProgram(() => {}).commands.map((verb) => verb.name());
const allSource = sources.map((path) => read(join("agent", path))).join("\n");

function blocks(path: string, language: string): readonly string[] {
  return [...read(path).matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))].map(
    ([, text]) => text ?? "",
  );
}

test("the policy in README.md is a policy", () => {
  const [policy = ""] = blocks("README.md", "json");
  const result = parsePolicy(Buffer.from(policy), "README.md");
  expect(result).toMatchObject({ ok: true });
});

test("examples/agent.json is a configuration", () => {
  const result = parseSettings(readFileSync(join(root, "examples", "agent.json")), "examples/agent.json");
  expect(result).toMatchObject({ ok: true });
});

test("every npm script and file that README.md names exists", () => {
  const scripts = JSON.parse(read("package.json")) as { readonly scripts: { readonly [name: string]: string } };
  const named = [...read("README.md").matchAll(/^npm (?:run )?([a-z]+)/gm)].map(([, name]) => name ?? "");
  expect(named.length).toBeGreaterThan(4);
  for (const name of named) expect(Object.keys(scripts.scripts)).toContain(name);
  for (const [, path = ""] of read("README.md").matchAll(/\]\(([^)#:]+)\)/g))
    expect(() => readdirOrFile(path)).not.toThrow();
});

test("every verb and option that README.md shows is known", () => {
  const shown = [...read("README.md").matchAll(/^\$ clawgress ([a-z]+)(.*?)(?:\s+#.*)?$/gm)];
  expect(shown.length).toBeGreaterThan(6);
  for (const [, verb, rest = ""] of shown) {
    expect(verbs).toContain(verb);
    for (const [option] of rest.matchAll(/--[a-z-]+/g)) expect(cli.includes(`"${option}`), option).toBe(true);
  }
});

describe("agent/README.md", () => {
  test("lists the exit status of every code", () => {
    const rows = [...read("agent/README.md").matchAll(/^\| (\d+) \| `([A-Z_]+)` \|/gm)];
    const documented = Object.fromEntries(rows.map(([, exit, code]) => [code, Number(exit)]));
    expect(documented).toEqual(Object.fromEntries(Object.entries(codes).map(([code, row]) => [code, row.exit])));
  });

  test("no two errors share a status, but for a server that is slow or away", () => {
    const statuses = Object.values(codes).map(({ exit }) => exit);
    const shared = statuses.filter((exit, index) => statuses.indexOf(exit) !== index);
    expect(shared).toEqual([codes.SOURCE_TIMEOUT.exit]);
  });

  test("lists every folder of agent/", () => {
    const folders = readdirSync(join(root, "agent"), { withFileTypes: true }).filter((entry) => entry.isDirectory());
    for (const { name } of folders) expect(read("agent/README.md")).toContain(`\`${name}/\``);
  });
});

test("every error code is given somewhere", () => {
  const unused = Object.keys(codes).filter((code) => allSource.split(`"${code}"`).length < 2);
  expect(unused).toEqual([]);
});

test("every reason is given somewhere", () => {
  const unused = Object.keys(reasons).filter((reason) => allSource.split(`"${reason}"`).length < 3);
  expect(unused).toEqual([]);
});

test("the program's help shows every verb, with an example each", () => {
  expect(verbs).toEqual(
    expect.arrayContaining(["run", "sync", "gate", "status", "compile", "check", "sign", "verify", "explain", "init"]),
  );
});

test("nothing but a test speaks of a package registry's host", () => {
  const files = execFileSync("git", ["ls-files"], { cwd: root, encoding: "utf8" }).trim().split("\n");
  const offenders = files.filter(
    (path) => !path.startsWith("test/") && /registry\.npmjs|deb\.debian\.org\/debian/.test(read(path)),
  );
  expect(offenders).toEqual([]);
});

function readdirOrFile(path: string): void {
  try {
    readFileSync(join(root, path));
  } catch {
    readdirSync(join(root, path));
  }
}

test("agent/README.md tells of every way that is known not to be stopped", () => {
  const section = read("agent/README.md").split("## What is not stopped")[1] ?? "";
  for (const { title } of [...packetResiduals, ...tlsResiduals]) expect(section).toContain(`| ${title}`);
});
