import { createHmac } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import { packageRoot } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { type Machine, startMachine, whyNoMachine } from "../systemd/machine.ts";

/** The units of packaging/systemd and the driver `systemd`, where systemd is the first process of the machine. */

const obstacle = await whyNoMachine();
if (obstacle !== null) console.warn(`test/e2e/systemd.test.ts is skipped: ${obstacle}`);

const DROP_IN = "/run/systemd/system/clawgress-agent.service.d/test.conf";
const policy = (...addresses: string[]) =>
  `${JSON.stringify({ version: 1, allow: { ips: addresses.map((address) => `${address}/32`), ports: [443] } })}\n`;
const connect = `
  const socket = require("node:net").connect(443, process.argv[1]);
  socket.setTimeout(2000, () => { console.log("silent"); process.exit(); });
  socket.on("connect", () => { console.log("connected"); process.exit(); });
  socket.on("error", (error) => { console.log(error.code); process.exit(); });
`;

let machine: Machine;

beforeAll(async () => {
  if (obstacle !== null) return;
  machine = await startMachine();
}, 120_000);

afterAll(async () => {
  await machine?.remove();
});

const show = async (unit: string, property: string): Promise<string> =>
  (await machine.ask(["systemctl", "show", `--property=${property}`, "--value", unit])).trim();
const mainPid = async (unit: string): Promise<number> => Number(await show(unit, "MainPID"));
const isActive = async (unit: string): Promise<boolean> => (await show(unit, "ActiveState")) === "active";
const file = async (path: string): Promise<string> => await machine.ask(["cat", path]);
const tables = async (): Promise<readonly string[]> =>
  (await machine.ask(["nft", "list", "tables"])).trim().split("\n").sort();
const bothTables = ["table inet clawgress", "table inet clawgress_base"];
const status = async (): Promise<{ readonly ok: boolean; readonly confirmed: { readonly serial: number } }> =>
  JSON.parse((await machine.exec(["clawgress", "status", "--json"])).stdout);
const reaches = async (address: string): Promise<boolean> => {
  const argv = ["nsenter", "--net=/run/netns/client", "node", "-e", connect, address];
  return (await machine.ask(argv)).trim() === "connected";
};
const propose = async (text: string) => {
  await machine.ask(["tee", "/tmp/policy.json"], { stdin: text });
  return await machine.exec(["clawgress", "policy", "import", "file", "/tmp/policy.json", "--reason", "a test"]);
};
const serveInternet = async (): Promise<void> => {
  const server = 'require("node:net").createServer((socket) => socket.end()).listen(443)';
  const argv = ["--property=NetworkNamespacePath=/run/netns/internet", "--unit=far-server", "node", "-e", server];
  await machine.ask(["systemd-run", "--quiet", "--collect", ...argv]);
};
/** Changes the agent's unit until it is changed again, and restarts it unless it is to be left alone. */
const changeAgent = async (lines: readonly string[]): Promise<void> => {
  await machine.ask(["mkdir", "-p", DROP_IN.replace(/\/[^/]*$/, "")]);
  await machine.ask(["tee", DROP_IN], { stdin: ["[Service]", ...lines, ""].join("\n") });
  await machine.ask(["systemctl", "daemon-reload"]);
  await machine.ask(["systemctl", "restart", "clawgress-agent"]);
};

describe.skipIf(obstacle !== null)("a gateway whose first process is systemd", () => {
  test("has its rules before it has a network, and the agent says itself that it is ready", async () => {
    const before = await file("/run/before-network");
    for (const table of bothTables) expect(before).toContain(`${table}\n`);
    expect(before).toMatch(/^links lo$/m);
    await eventually("the agent is active", () => isActive("clawgress-agent"));
    expect(await show("clawgress-boot", "Result")).toBe("success");
    expect(await show("clawgress-agent", "Type")).toBe("notify");
    expect(await show("clawgress-agent", "StatusText")).toMatch(/^serial|^nothing is confirmed/);
    expect(await tables()).toEqual(bothTables);
    await serveInternet();
  });

  test("runs each program as a unit of its own, with no more than it needs", async () => {
    await eventually("the API runs", () => isActive("clawgress-api"));
    for (const unit of ["clawgress-gate", "clawgress-named", "clawgress-ulogd", "clawgress-api"]) {
      expect(await isActive(unit), unit).toBe(true);
      const cgroup = await file(`/proc/${await mainPid(unit)}/cgroup`);
      expect(cgroup).toContain(`/system.slice/${unit}.service`);
      expect(await file(`/proc/${await mainPid(unit)}/status`)).toMatch(/^NoNewPrivs:\t1$[\s\S]*^Seccomp:\t2$/m);
    }
    const netAdmin = "0000000000001000";
    const gate = await file(`/proc/${await mainPid("clawgress-gate")}/status`);
    for (const kind of ["Prm", "Eff", "Bnd", "Amb"]) expect(gate).toContain(`Cap${kind}:\t${netAdmin}\n`);
    for (const unit of ["clawgress-named", "clawgress-api"]) {
      expect(await file(`/proc/${await mainPid(unit)}/status`)).toContain("CapBnd:\t0000000000000000\n");
    }
    expect(await show("clawgress-gate", "WatchdogUSec")).toBe("1min");
  });

  test("lets the gate write into its own folders and execute nothing but itself", async () => {
    const inGate = async (...argv: string[]) => {
      const pid = String(await mainPid("clawgress-gate"));
      return await machine.exec(["nsenter", `--target=${pid}`, "--mount", "--", ...argv]);
    };
    for (const path of ["/run/clawgress/gate/x", "/var/lib/clawgress/gate/x"]) {
      expect((await inGate("/usr/bin/node", "-e", `require("fs").writeFileSync("${path}", "")`)).exitCode).toBe(0);
      await machine.ask(["rm", path]);
    }
    for (const path of ["/run/clawgress/x", "/var/lib/clawgress/x", "/etc/x", "/usr/x", "/root/x"]) {
      const result = await inGate("/usr/bin/node", "-e", `require("fs").writeFileSync("${path}", "")`);
      expect(result.stderr, path).toMatch(/EROFS|EACCES/);
    }
    for (const program of ["/usr/bin/sh", "/usr/sbin/nft", "/usr/sbin/conntrack", "/usr/sbin/named"]) {
      expect((await inGate(program)).stderr, program).toMatch(/Permission denied/);
    }
  });

  test("enforces a change, which its timer watched over as a unit", async () => {
    let isOver = false;
    const proposal = propose(policy("192.0.2.80")).finally(() => {
      isOver = true;
    });
    const seen = new Set<string>();
    while (!isOver) for (const name of await timers()) seen.add(name);
    const { exitCode, stdout, stderr } = await proposal;
    expect(stdout + stderr).toMatch(/in force/);
    expect(exitCode).toBe(0);
    expect([...seen]).toEqual([expect.stringMatching(/^clawgress-revert-timer-[0-9a-f]{8}\.service$/)]);
    expect(await reaches("192.0.2.80")).toBe(true);
    expect(await reaches("192.0.2.81")).toBe(false);
    await eventually("its timer is gone", async () => (await timers()).length === 0);
  });

  test("runs the proxy as a unit for as long as a policy needs it", async () => {
    const proxied = { version: 1, allow: { domains: ["api.example.com"] }, proxy: { mode: "sni-allowlist" } };
    expect((await propose(JSON.stringify(proxied))).exitCode).toBe(0);
    expect(await isActive("clawgress-proxy")).toBe(true);
    const told = await file(`/proc/${await mainPid("clawgress-proxy")}/status`);
    expect(told).toContain("CapBnd:\t0000000000000000\n");
    expect((await propose(policy("192.0.2.80"))).exitCode).toBe(0);
    expect(await isActive("clawgress-proxy")).toBe(false);
    expect(await reaches("192.0.2.80")).toBe(true);
  });

  test("hands a secret to the one unit that needs it", async () => {
    const body = "{}";
    const signature = `sha256=${createHmac("sha256", "lab-webhook-secret").update(body).digest("hex")}`;
    const url = "http://127.0.0.1:8420/api/clawgress/webhook/github";
    const call = (header: string) =>
      machine.ask([
        ...["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", `x-hub-signature-256: ${header}`],
        ...["-H", "content-type: application/json", "-d", body, url],
      ]);
    expect(Number(await call(`${signature.slice(0, -1)}x`))).toBeGreaterThanOrEqual(400);
    expect(Number(await call(signature))).toBeLessThan(300);
    const seenBy = async (unit: string): Promise<string> => {
      const folder = `/proc/${await mainPid(unit)}/root/run/credentials/clawgress-api.service`;
      return (await machine.exec(["ls", folder])).stdout.trim();
    };
    expect(await seenBy("clawgress-api")).toBe("clawgress_webhook");
    for (const unit of ["clawgress-gate", "clawgress-named"]) expect(await seenBy(unit)).toBe("");
  });

  test("changes nothing where no timer can be started", async () => {
    await changeAgent(["InaccessiblePaths=/usr/bin/systemd-run"]);
    const serial = (await status()).confirmed.serial;
    const { exitCode, stdout, stderr } = await propose(policy("192.0.2.80", "192.0.2.81"));
    expect(exitCode).not.toBe(0);
    expect(stdout + stderr).toMatch(/APPLY_NO_TIMER: the revert timer is not armed: cannot run systemd-run/);
    expect((await status()).confirmed.serial).toBe(serial);
    expect(await reaches("192.0.2.81")).toBe(false);
    expect(await reaches("192.0.2.80")).toBe(true);
    expect((await propose(policy("192.0.2.80"))).stdout).toMatch(/./);
  });

  test("is back at what was confirmed when the agent dies between swap and confirm", async () => {
    const faulty = "/usr/lib/clawgress/dist/faulty-agent.mjs --config /etc/clawgress/agent.json";
    const fault = "--step 6-probe --moment before --do kill";
    await changeAgent([`ExecStart=`, `ExecStart=/usr/bin/node ${faulty} ${fault}`, "Restart=no"]);
    const serial = (await status()).confirmed.serial;
    await propose(policy("192.0.2.80", "192.0.2.81"));
    await eventually("the agent is dead", async () => (await show("clawgress-agent", "Result")) === "signal");
    const diedMs = Date.now();
    expect(await reaches("192.0.2.81")).toBe(true);
    expect(await timers()).toHaveLength(1);
    await eventually("the timer has reverted", async () => (await timers()).length === 0);
    const tookMs = Date.now() - diedMs;
    expect(await reaches("192.0.2.81")).toBe(false);
    expect(await reaches("192.0.2.80")).toBe(true);
    expect((await status()).confirmed.serial).toBe(serial);
    expect(tookMs).toBeLessThan(5_000 + 3_000);
    console.log(`the old release was back ${tookMs} ms after the agent had died; deadline 5000 ms`);
  });

  test("starts an agent again that hangs, and nothing else notices", async () => {
    await changeAgent(["WatchdogSec=3"]);
    const [agent, gate, named] = [
      await mainPid("clawgress-agent"),
      await mainPid("clawgress-gate"),
      await mainPid("clawgress-named"),
    ];
    const gateSaid = Number(await show("clawgress-gate", "WatchdogTimestampMonotonic"));
    await machine.ask(["kill", "-STOP", String(agent)]);
    const stoppedMs = Date.now();
    await eventually("the agent is another one", async () => {
      const pid = await mainPid("clawgress-agent");
      return pid !== 0 && pid !== agent && (await isActive("clawgress-agent"));
    });
    console.log(`a hanging agent was replaced after ${Date.now() - stoppedMs} ms; WatchdogSec=3`);
    expect(await show("clawgress-agent", "NRestarts")).toBe("1");
    expect([await mainPid("clawgress-gate"), await mainPid("clawgress-named")]).toEqual([gate, named]);
    expect(await reaches("192.0.2.80")).toBe(true);
    expect(gateSaid).toBeGreaterThan(0);
    await eventually("the gate has given another sign of life", async () => {
      return Number(await show("clawgress-gate", "WatchdogTimestampMonotonic")) > gateSaid;
    });
  });

  test("is locked down, and opened again", async () => {
    await machine.ask(["clawgress", "lockdown", "--reason", "a test"]);
    expect(await reaches("192.0.2.80")).toBe(false);
    await machine.ask(["clawgress", "lockdown", "--end"]);
    expect(await reaches("192.0.2.80")).toBe(true);
    expect(await isActive("clawgress-gate")).toBe(true);
  });

  test("is brought up to date in place, and only the agent starts again", async () => {
    const [agent, gate] = [await mainPid("clawgress-agent"), await mainPid("clawgress-gate")];
    await machine.ask(["bash", join(packageRoot(), "packaging", "install.sh")]);
    await machine.ask(["systemctl", "restart", "clawgress-agent"]);
    expect([0, agent]).not.toContain(await mainPid("clawgress-agent"));
    expect(await mainPid("clawgress-gate")).toBe(gate);
    expect(await reaches("192.0.2.80")).toBe(true);
  });

  test("ends a gate that hangs, and starts another", async () => {
    const gate = await mainPid("clawgress-gate");
    const startedMs = Date.now();
    await machine.ask(["kill", "-STOP", String(gate)]);
    expect(await reaches("192.0.2.80")).toBe(true);
    expect(await reaches("192.0.2.81")).toBe(false);
    // Its watchdog is a minute, and it tells of life every five seconds.
    while ((await mainPid("clawgress-gate")) === gate && Date.now() - startedMs < 75_000) await sleepMs(500);
    console.log(`a hanging gate was replaced after ${Date.now() - startedMs} ms; WatchdogSec=60`);
    await eventually("another gate answers", async () => {
      const { gate: answer } = JSON.parse((await machine.exec(["clawgress", "status", "--json"])).stdout);
      return answer?.ready === true && ![0, gate].includes(await mainPid("clawgress-gate"));
    });
    expect(await reaches("192.0.2.80")).toBe(true);
    expect(await reaches("192.0.2.81")).toBe(false);
  });

  test("keeps enforcing when the agent is stopped, and starts a gate again that ends then", async () => {
    const gate = await mainPid("clawgress-gate");
    await machine.ask(["systemctl", "stop", "clawgress-agent"]);
    expect(await show("clawgress-agent", "Result")).toBe("success");
    expect(await tables()).toEqual(bothTables);
    expect(await mainPid("clawgress-gate")).toBe(gate);
    expect(await isActive("clawgress-named")).toBe(true);
    expect(await reaches("192.0.2.80")).toBe(true);
    expect(await reaches("192.0.2.81")).toBe(false);
    await machine.ask(["kill", "-KILL", String(gate)]);
    await eventually("another gate runs", async () => ![0, gate].includes(await mainPid("clawgress-gate")));
    await eventually("it serves what was confirmed", async () => {
      const { gate: answer } = JSON.parse((await machine.exec(["clawgress", "status", "--json"])).stdout);
      return answer?.ready === true;
    });
  });

  test("has the confirmed release in force before the network when it boots again, from disk alone", async () => {
    const { serial } = (await status()).confirmed;
    expect(serial).toBeGreaterThan(0);
    await machine.reboot();
    const before = await file("/run/before-network");
    for (const table of bothTables) expect(before).toContain(`${table}\n`);
    expect(before).toMatch(/^links lo$/m);
    const told = JSON.parse(before.slice(before.indexOf("{")));
    expect(told).toMatchObject({ confirmed: { serial }, agent: { pid: null }, gate: { ready: true } });
    await serveInternet();
    expect(await reaches("192.0.2.80")).toBe(true);
    expect(await reaches("192.0.2.81")).toBe(false);
    await eventually("the agent is active", () => isActive("clawgress-agent"));
  });

  test("is rid of all of it after cleanup, and only then", async () => {
    expect((await machine.exec(["clawgress", "cleanup", "--yes"])).stderr).toMatch(/STATE_LOCKED/);
    await machine.ask(["systemctl", "stop", "clawgress-agent"]);
    await machine.ask(["clawgress", "cleanup", "--yes"]);
    expect(await machine.ask(["nft", "list", "tables"])).toBe("");
    const units = await machine.ask(["systemctl", "list-units", "--no-legend", "--plain", "clawgress-*"]);
    expect(
      units
        .trim()
        .split("\n")
        .map((line) => line.split(/ +/)[0]),
    ).toEqual(["clawgress-boot.service"]);
    expect(await reaches("192.0.2.80")).toBe(false);
  });
});

async function timers(): Promise<readonly string[]> {
  const argv = ["systemctl", "list-units", "--no-legend", "--plain", "--state=active", "clawgress-revert-timer-*"];
  return (await machine.ask(argv)).split("\n").flatMap((line) => (line === "" ? [] : (line.split(/ +/)[0] ?? [])));
}
