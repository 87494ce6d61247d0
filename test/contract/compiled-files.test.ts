import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { renderProxyConf } from "../../agent/compile/haproxy.ts";
import { renderNamedConf } from "../../agent/compile/named-conf.ts";
import { proxyMaps, renderProxyMaps } from "../../agent/compile/proxy-maps.ts";
import { ALLOW_ZONE, BLOCK_ZONE, DENY_ZONE } from "../../agent/compile/release.ts";
import { runChecked } from "../../agent/host/run.ts";
import { dnsSettings, policyOf, settingsWith } from "../support/compile-samples.ts";

/** What compile writes is judged here by the programs that will read it. */
const golden = new URL("../golden/compile/", import.meta.url).pathname;
const examples = readdirSync(golden, { withFileTypes: true }).flatMap((entry) =>
  entry.isDirectory() ? [entry.name] : [],
);
const limits = { timeoutMs: 20_000 };
const rndcKey = `key "clawgress" { algorithm hmac-sha256; secret "${Buffer.alloc(32, 7).toString("base64")}"; };\n`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "clawgress-compiled-"));
  mkdirSync(join(folder, "work"));
  writeFileSync(join(folder, "rndc.key"), rndcKey);
});
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(examples)("the release of examples/%s", (example) => {
  const path = (name: string): string => join(golden, example, name);

  it.each([
    [BLOCK_ZONE, "block.zone"],
    [ALLOW_ZONE, "allow.zone"],
    [DENY_ZONE, "deny.zone"],
  ])("named-checkzone loads %s without a warning", async (zone, file) => {
    const output = await runChecked(["named-checkzone", "-i", "full", zone, path(file)], limits);
    expect(output.trim().split("\n")).toHaveLength(2);
    expect(output).toMatch(/loaded serial \d+\nOK\n$/);
  });

  it("named-checkconf loads the configuration with its zones, without a warning", async () => {
    for (const name of ["named.conf", "block.zone", "allow.zone", "deny.zone"])
      copyFileSync(path(name), join(folder, name));
    const output = await runChecked(["named-checkconf", "-z", "../named.conf"], {
      ...limits,
      cwd: join(folder, "work"),
    });
    expect(output.trim().split("\n")).toEqual([
      expect.stringMatching(/^zone block\.rpz\.clawgress\.invalid\/IN: loaded serial \d+$/),
      expect.stringMatching(/^zone allow\.rpz\.clawgress\.invalid\/IN: loaded serial \d+$/),
      expect.stringMatching(/^zone deny\.rpz\.clawgress\.invalid\/IN: loaded serial \d+$/),
    ]);
  });
});

describe("haproxy", () => {
  const write = (files: ReadonlyMap<string, string>): void => {
    for (const [name, text] of [...files, ["about.map", ""], ["own.map", ""], ["spent.map", ""]] as const)
      writeFileSync(join(folder, name), text);
  };
  const check = async (): Promise<string> =>
    await runChecked(["haproxy", "-c", "-f", "haproxy.cfg"], { ...limits, cwd: folder });

  it("loads the configuration of examples/seed with its maps, without a warning", async () => {
    const files = ["haproxy.cfg", ...Object.values(proxyMaps)];
    write(new Map(files.map((name) => [name, readFileSync(join(golden, "seed", name), "utf8")])));
    expect(await check()).toBe("Configuration file is valid\n");
  });

  it("loads maps of everybody, of nobody, and of 20,000 names", async () => {
    const domains = Array.from({ length: 20_000 }, (_, index) => `n${index}.example.com`);
    for (const [lists, sources] of [
      [{ domains: ["*.a.b.c.d.e.f.g.h.example.com"] }, ["0.0.0.0/0", "::/0"]],
      [{ ips: ["192.0.2.1"] }, ["10.0.0.1"]],
      [{ domains }, ["10.0.0.0/8", "10.1.0.0/16"]],
    ] as const) {
      const exfil = { domains: { "*.example.com": { bytes: 5, period: "day" } } };
      const all = { sources, exfil };
      const document = { version: 1, allow: lists, proxy: { mode: "sni-allowlist" }, hosts: { all } };
      write(new Map([...renderProxyMaps(policyOf(document), []), ["haproxy.cfg", renderProxyConf(settingsWith())]]));
      expect(await check()).toBe("Configuration file is valid\n");
    }
  });
});

describe("named-checkconf on configurations with validation", () => {
  it.each(["auto", "yes"] as const)("%s", async (validation) => {
    const anchors = join(folder, "anchors.conf");
    writeFileSync(anchors, `trust-anchors { example. static-ds 20326 8 2 "${"E06D44B80B8F1D39".repeat(4)}"; };\n`);
    writeFileSync(
      join(folder, "named.conf"),
      renderNamedConf({ ...dnsSettings, validation, trustAnchorsFile: anchors }),
    );
    expect(await runChecked(["named-checkconf", "../named.conf"], { ...limits, cwd: join(folder, "work") })).toBe("");
  });
});

const isRoot = process.getuid?.() === 0;
describe.runIf(isRoot)("nft", () => {
  const namespace = `cgcompiled${process.pid}`;
  const nft = (...args: readonly string[]) =>
    execFileSync("ip", ["netns", "exec", namespace, "nft", ...args], { encoding: "utf8" });
  const listing = (): string => nft("-s", "list", "ruleset");
  beforeAll(() => void execFileSync("ip", ["netns", "add", namespace]));
  afterAll(() => void execFileSync("ip", ["netns", "del", namespace]));

  it("loads the base tables, and loading them again changes nothing", () => {
    nft("-f", join(golden, "base.nft"));
    const once = listing();
    nft("-f", join(golden, "base.nft"));
    expect(once).toContain("table inet clawgress_base");
    expect(listing()).toBe(once);
  });

  it.each(examples)("loads the policy table of examples/%s over any other, and twice is once", (example) => {
    nft("-f", join(golden, example, "policy.nft"));
    const once = listing();
    nft("-f", join(golden, example, "policy.nft"));
    expect(once).toContain("map pin4");
    expect(listing()).toBe(once);
  });

  it("keeps pins, grants and client interfaces over both", () => {
    nft("add", "element", "inet", "clawgress", "pin4", "{ 10.0.0.1 . 192.0.2.1 . 0x7f63 timeout 300s : 0x10001 }");
    nft("add", "element", "inet", "clawgress", "live", "{ 0x1 . 0x10001 }");
    nft("-f", join(golden, examples[0] ?? "", "policy.nft"));
    nft("-f", join(golden, "base.nft"));
    expect(nft("list", "map", "inet", "clawgress", "pin4")).toContain("10.0.0.1 . 192.0.2.1");
    expect(nft("list", "set", "inet", "clawgress", "live")).toContain("0x00000001 . 0x00010001");
    expect(nft("list", "set", "inet", "clawgress", "lan")).toContain('"lan0"');
  });
});
