import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cp, mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { type DaemonName, daemonUnit, timerUnit, unitNames } from "../../agent/apply/daemons.ts";
import { rootProperties } from "../../agent/apply/sandbox.ts";
import { codes } from "../../agent/errors.ts";
import { run, runChecked } from "../../agent/host/run.ts";
import { parseSettings } from "../../agent/settings/parse-settings.ts";
import { DEFAULT_PATHS, pathsOf } from "../../agent/settings/paths.ts";
import type { Settings } from "../../agent/settings/settings.ts";
import { renderUnit } from "../support/render-unit.ts";

/** The units, users and folders of packaging/, as far as they can be tried where systemd does not run the machine. */

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const packaging = join(root, "packaging");
const LIMITS = { timeoutMs: 60_000 };
const scratch = mkdtempSync(join(tmpdir(), "clawgress-units-"));
afterAll(() => rmSync(scratch, { recursive: true }));

function settingsOf(more: object = {}): Settings {
  const raw = {
    ...{ version: 1, gateway: "gw-1", driver: "systemd", interfaces: { clients: ["lan0"], upstream: ["wan0"] } },
    ...{ dns: { upstreams: ["192.0.2.53"] }, api: { port: 8420, webhookSecretFile: "credential:webhook" } },
    ...more,
  };
  const result = parseSettings(Buffer.from(JSON.stringify(raw)), "agent.json");
  if (!result.ok) throw new Error(JSON.stringify(result.issues));
  return result.settings;
}

const settings = settingsOf();
const paths = pathsOf(settings);
const context = {
  ...{ settings, paths, configFile: "/etc/clawgress/agent.json" },
  programFolder: "/usr/lib/clawgress/dist",
};
const node = ["/usr/bin/node", "/usr/lib/clawgress/dist/clawgress.mjs"];
const daemons: { readonly [name in DaemonName]: { readonly uid: number; readonly program: readonly string[] } } = {
  gate: { uid: 901, program: [...node, "gate", "--config", context.configFile] },
  named: { uid: 902, program: ["/usr/sbin/named", "-f", "-c", "../named.conf"] },
  proxy: { uid: 903, program: ["/usr/sbin/haproxy", "-db", "-q", "-f", "haproxy.cfg"] },
  ulogd: { uid: 901, program: ["/usr/sbin/ulogd", "--configfile", paths.packetLogConf] },
  api: { uid: 904, program: [...node, "api", "--config", context.configFile] },
};
const folders = { named: paths.namedWork, proxy: paths.proxy } as const;

function unitOf(name: DaemonName) {
  const { uid, program } = daemons[name];
  const cwd = name === "named" || name === "proxy" ? folders[name] : "/";
  return daemonUnit(context, name, { user: { uid, gid: uid }, cwd, executes: [program[0] ?? ""] });
}

async function exposureOf(name: string, text: string): Promise<number> {
  const file = join(scratch, name);
  writeFileSync(file, text);
  const argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", file] as const;
  const [, exposure] = /Overall exposure level for .*: ([0-9.]+) /.exec(await runChecked(argv, LIMITS)) ?? [];
  return Number(exposure);
}

describe("what the agent asks systemd for", () => {
  test.each(Object.keys(daemons) as DaemonName[])(
    "%s is as it was reviewed, and exposed by 2.0 at most",
    async (name) => {
      const file = join(packaging, "systemd", "transient", `clawgress-${name}.service`);
      const about = `What is known as ${unitOf(name).name}, with the settings that hold where agent.json says nothing.`;
      const text = renderUnit(unitOf(name), daemons[name].program, about);
      await expect(text).toMatchFileSnapshot(file);
      expect(await exposureOf(unitOf(name).name, text)).toBeLessThanOrEqual(2.0);
    },
  );

  test("the gate holds one capability, writes into its own folders and executes nothing but itself", () => {
    const { properties } = unitOf("gate");
    expect(properties).toContain("CapabilityBoundingSet=CAP_NET_ADMIN");
    expect(properties).toContain("AmbientCapabilities=CAP_NET_ADMIN");
    expect(properties).toContain("ReadWritePaths=/run/clawgress/gate /var/lib/clawgress/gate");
    expect(properties).toContain("NoExecPaths=/ /run /run/clawgress/gate /var/lib/clawgress/gate");
    const [executed = ""] = properties.filter((property) => property.startsWith("ExecPaths="));
    const programs = executed.split(/[= ]/).filter((path) => path.startsWith("/"));
    expect(programs).toEqual(["/usr/bin/node"]);
    for (const line of ["Type=notify", "Restart=on-failure"]) expect(properties).toContain(line);
  });

  test("a port below 1024 costs a capability, and an address that is not loopback opens the API's network", () => {
    const other = { ...context, settings: settingsOf({ gate: { port: 53 } }) };
    const start = { user: { uid: 1, gid: 1 }, cwd: "/", executes: ["/usr/bin/node"] };
    expect(daemonUnit(other, "gate", start).properties).toContain(
      "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE",
    );
    expect(unitOf("api").properties).toContain("IPAddressAllow=localhost");
    expect(unitOf("api").properties).toContain("LoadCredential=clawgress_webhook:/etc/clawgress/credentials/webhook");
    const tls = { certificateFile: "/etc/c.pem", keyFile: "credential:key.pem" };
    const open = { ...context, settings: settingsOf({ api: { port: 443, address: "192.0.2.1", tls } }) };
    const { properties } = daemonUnit(open, "api", start);
    expect(properties).not.toContain("IPAddressDeny=any");
    expect(properties).toContain("LoadCredential=clawgress_key.pem:/etc/clawgress/credentials/key.pem");
  });

  test("agents with other run folders have units of other names, and clean up no others", () => {
    const other = settingsOf({ paths: { run: "/run/other" } });
    const names = [...unitNames(settings), ...unitNames(other)];
    expect(new Set(names).size).toBe(names.length);
    const pattern = new RegExp(`^${(unitNames(settings)[0] ?? "").replaceAll("?", ".")}$`);
    expect(timerUnit({ settings }, "01234567").name).toMatch(pattern);
    expect(timerUnit({ settings: other }, "01234567").name).not.toMatch(pattern);
  });
});

describe("what packaging/ installs", () => {
  const unitFiles = readdirSync(join(packaging, "systemd")).filter((name) => name.endsWith(".service"));
  const read = (name: string): readonly string[] => readFileSync(join(packaging, "systemd", name), "utf8").split("\n");

  test("the timer, the agent and boot have one sandbox", async () => {
    expect(unitFiles).toEqual(["clawgress-agent.service", "clawgress-boot.service"]);
    const wanted = rootProperties([DEFAULT_PATHS.state, DEFAULT_PATHS.run]);
    for (const name of unitFiles) {
      const first = read(name).indexOf(wanted[0] ?? "");
      expect(read(name).slice(first, first + wanted.length), name).toEqual(wanted);
    }
    const file = join(packaging, "systemd", "transient", "clawgress-revert-timer.service");
    const program = ["/usr/bin/node", "/usr/lib/clawgress/dist/revert-timer.mjs"];
    const socket = join(DEFAULT_PATHS.run, "revert-timer-01234567.sock");
    const about = "What watches over a change, under a name of its own each time.";
    const text = renderUnit(timerUnit({ settings }, "01234567"), [...program, socket], about);
    await expect(text).toMatchFileSnapshot(file);
    expect(await exposureOf("clawgress-revert-timer.service", text)).toBeLessThanOrEqual(3.2);
  });

  test.each(unitFiles)("%s: root that makes namespaces is exposed by 3.2 at most", async (name) => {
    expect(await exposureOf(name, read(name).join("\n"))).toBeLessThanOrEqual(3.2);
  });

  test("the agent is not started again where only a person helps", () => {
    const line = read("clawgress-agent.service").find((text) => text.startsWith("RestartPreventExitStatus=")) ?? "";
    const wanted = (["USAGE", "SETTINGS_INVALID", "STATE_CORRUPT", "TRUST_ROOT_INVALID"] as const).map(
      (code) => codes[code].exit,
    );
    expect(line).toBe(`RestartPreventExitStatus=${wanted.join(" ")}`);
  });

  test("install.sh installs units that systemd takes, and the users that the settings name", async () => {
    await mkdir(join(scratch, "etc", "apparmor.d", "local"), { recursive: true });
    // What our units are ordered by and need.
    await cp("/lib/systemd/system", join(scratch, "usr/lib/systemd/system"), {
      recursive: true,
      verbatimSymlinks: true,
    });
    for (let time = 0; time < 2; time++) {
      await runChecked(["bash", join(packaging, "install.sh"), "--root", scratch], LIMITS);
    }
    const argv = ["systemd-analyze", "verify", "--man=no", `--root=${scratch}`, ...unitFiles] as const;
    const { exitCode, stdout, stderr } = await run([...argv], LIMITS);
    const complaints = (stdout + stderr).split("\n").filter((line) => line.includes("clawgress"));
    expect({ exitCode, complaints }).toEqual({ exitCode: 0, complaints: [] });
    const users = readFileSync(join(scratch, "etc", "passwd"), "utf8");
    const { dns, gate, proxy, api } = settings;
    for (const { user } of [dns, gate, proxy, api]) expect(users).toMatch(new RegExp(`^${user}:`, "m"));
    for (const folder of ["run/clawgress", "run/netns", "var/lib/clawgress", "etc/clawgress/credentials"]) {
      expect(readdirSync(join(scratch, folder))).toEqual([]);
    }
    const local = readFileSync(join(scratch, "etc", "apparmor.d", "local", "usr.sbin.named"), "utf8");
    expect(local.match(/clawgress\/named\/\*\* r,/g)).toHaveLength(1);
    const version = await runChecked(
      ["node", join(scratch, "usr/lib/clawgress/dist/clawgress.mjs"), "--version"],
      LIMITS,
    );
    expect(version).toMatch(/^[0-9.]+$/m);
  });
});
