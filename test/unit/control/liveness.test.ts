import { expect, test } from "vitest";
import { createLiveness, MAX_LOOK_MS, maxCycleMs } from "../../../agent/control/liveness.ts";
import { checkDriver } from "../../../agent/control/service-state.ts";
import { openServiceManager } from "../../../agent/host/service-manager.ts";
import { parseSettings } from "../../../agent/settings/parse-settings.ts";

function start() {
  const clock = { nowMs: 0, cycleSinceMs: null as number | null };
  const liveness = createLiveness({
    monotonicMs: () => clock.nowMs,
    cycleSinceMs: () => clock.cycleSinceMs,
    ...{ maxLookMs: 1_000, maxCycleMs: 10_000 },
  });
  return { clock, liveness };
}

test("an agent whose tables are not looked at any more is stuck, though its event loop turns", () => {
  const { clock, liveness } = start();
  clock.nowMs = 1_000;
  expect(liveness.findStuck()).toBeNull();
  clock.nowMs = 1_001;
  expect(liveness.findStuck()).toBe("no look at the tables for 1001 ms");
  liveness.noteLook();
  expect(liveness.findStuck()).toBeNull();
});

test("an agent whose cycle does not end is stuck, though its tables are looked at", () => {
  const { clock, liveness } = start();
  clock.cycleSinceMs = 0;
  clock.nowMs = 10_000;
  liveness.noteLook();
  expect(liveness.findStuck()).toBeNull();
  clock.nowMs = 10_001;
  expect(liveness.findStuck()).toBe("a cycle has been under way for 10001 ms");
  clock.cycleSinceMs = null;
  expect(liveness.findStuck()).toBeNull();
});

function settingsOf(more: object) {
  const raw = { version: 1, gateway: "a", interfaces: { clients: ["l"], upstream: ["w"] }, ...more };
  const result = parseSettings(
    Buffer.from(JSON.stringify({ dns: { upstreams: ["192.0.2.1"] }, ...raw })),
    "agent.json",
  );
  if (!result.ok) throw new Error(JSON.stringify(result.issues));
  return result.settings;
}

test("a cycle has time for all that it may ask, and a look for the kernel's longest load", () => {
  const settings = settingsOf({ repository: { timeoutMs: 600_000 }, health: { confirmTimeoutMs: 60_000 } });
  expect(maxCycleMs(settings)).toBeGreaterThan(4 * 600_000 + 2 * 60_000);
  expect(MAX_LOOK_MS).toBeGreaterThan(60_000);
});

test("driver process is refused in a unit that waits for a word, and nowhere else", async () => {
  const unit = await openServiceManager({ NOTIFY_SOCKET: "/run/nobody-is-there" });
  const nobody = await openServiceManager({});
  expect(() => checkDriver(settingsOf({}), unit)).toThrow(expect.objectContaining({ code: "SETTINGS_INVALID" }));
  expect(() => checkDriver(settingsOf({ driver: "systemd" }), unit)).not.toThrow();
  expect(() => checkDriver(settingsOf({}), nobody)).not.toThrow();
});
