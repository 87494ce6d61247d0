import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findDaemon, startDaemon, stopDaemon } from "../../../agent/host/daemon.ts";
import { readProcess } from "../../../agent/host/process-table.ts";
import { requireSystemd, startUnit, transientArgv } from "../../../agent/host/systemd.ts";

describe("the arguments that start a transient unit", () => {
  const unit = { name: "clawgress-gate.service", properties: ["Type=notify", "ReadWritePaths=/run/a /run/b"] };

  test("are one a property, and the program's come after the last option", () => {
    expect(transientArgv(unit, ["/usr/bin/node", "--version"], {})).toEqual([
      ...["systemd-run", "--system", "--quiet", "--collect", "--no-ask-password", "--unit=clawgress-gate.service"],
      ...["--property=Type=notify", "--property=ReadWritePaths=/run/a /run/b", "--", "/usr/bin/node", "--version"],
    ]);
  });

  test("let systemd put nothing in the place of a dollar", () => {
    const argv = transientArgv(unit, ["/bin/echo", "$HOME", "a$$b", "%h"], {});
    expect(argv.slice(-3)).toEqual(["$$HOME", "a$$$$b", "%h"]);
  });

  test("hand the level of the log on, and no other variable", () => {
    const argv = transientArgv(unit, ["/bin/true"], { CLAWGRESS_LOG: "debug", PATH: "/bin", TOKEN: "x" });
    expect(argv.filter((argument) => argument.startsWith("--setenv"))).toEqual(["--setenv=CLAWGRESS_LOG"]);
  });
});

describe.skipIf(existsSync("/run/systemd/system"))("a machine that systemd does not run", () => {
  test("is told so, with the way out", async () => {
    await expect(requireSystemd()).rejects.toMatchObject({
      code: "HOST_MISSING",
      remedy: expect.stringMatching(/"driver": "process"/),
    });
  });

  test("starts no unit", async () => {
    const unit = { name: "clawgress-test.service", properties: [] };
    await expect(startUnit(unit, ["/bin/true"])).rejects.toMatchObject({ code: expect.stringMatching(/^HOST_/) });
  });

  test("ends what was a unit by signals", async () => {
    const folder = mkdtempSync(join(tmpdir(), "clawgress-unit-"));
    const pidFile = join(folder, "it.pid.json");
    const uid = process.getuid?.() ?? 0;
    const pid = await startDaemon(["sleep", "60"], { pidFile, logFile: join(folder, "it.log"), cwd: "/", uid });
    const startTicks = (await readProcess(pid))?.startTicks;
    writeFileSync(pidFile, JSON.stringify({ pid, startTicks, unit: "clawgress-test.service" }));
    expect(await findDaemon(pidFile)).toBe(pid);
    await stopDaemon(pidFile, 2_000);
    expect(await readProcess(pid)).toBeNull();
    rmSync(folder, { recursive: true });
  });
});
