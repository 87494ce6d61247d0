import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openLibc } from "../../../agent/host/libc.ts";
import { openServiceManager } from "../../../agent/host/service-manager.ts";

/** A real socket takes what is said: Node has none of this kind, so the C library opens it. */

let folder: string;
let close = (): void => {};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "clawgress-notify-"));
});
afterEach(() => {
  close();
  rmSync(folder, { recursive: true });
});

/** Listens at an address; the reader returns what came since. */
async function listen(address: string): Promise<() => readonly string[]> {
  const { library } = await openLibc();
  const socket = library.func("int socket(int domain, int type, int protocol)");
  const bind = library.func("int bind(int fd, const void *address, uint32_t size)");
  const receive = library.func("intptr_t recv(int fd, void *buffer, uintptr_t length, int flags)");
  const end = library.func("int close(int fd)");
  const fd: number = socket(1, 2, 0);
  const name = Buffer.from(address.startsWith("@") ? `\0${address.slice(1)}` : `${address}\0`);
  const bytes = Buffer.concat([Buffer.from([1, 0]), name]);
  expect(bind(fd, bytes, bytes.length)).toBe(0);
  close = () => end(fd);
  return () => {
    const heard: string[] = [];
    const buffer = Buffer.alloc(4096);
    for (;;) {
      const length = Number(receive(fd, buffer, buffer.length, 0x40));
      if (length < 0) return heard;
      heard.push(buffer.toString("utf8", 0, length));
    }
  };
}

describe("systemd", () => {
  test.each(["path", "name"])("hears what the process says, at a %s", async (kind) => {
    const address = kind === "path" ? join(folder, "notify") : `@clawgress-test-${process.pid}`;
    const heard = await listen(address);
    const environment = { NOTIFY_SOCKET: address, WATCHDOG_USEC: "3000000", WATCHDOG_PID: String(process.pid) };
    const manager = await openServiceManager(environment);
    expect(environment).toEqual({});
    expect(manager).toMatchObject({ isThere: true, watchdogMs: 3000 });
    manager.ready();
    manager.status("serial 4\nREADY=1");
    manager.alive();
    manager.stopping();
    expect(heard()).toEqual(["READY=1", "STATUS=serial 4?READY=1", "WATCHDOG=1", "STOPPING=1"]);
  });

  test("waits for signs of life of the process that it names, and of no other", async () => {
    const heard = await listen(join(folder, "notify"));
    const manager = await openServiceManager({
      ...{ NOTIFY_SOCKET: join(folder, "notify"), WATCHDOG_USEC: "3000000", WATCHDOG_PID: "1" },
    });
    expect(manager.watchdogMs).toBeNull();
    expect(heard()).toEqual([]);
  });

  test("that is not there is told nothing, and nothing fails", async () => {
    const manager = await openServiceManager({});
    manager.ready();
    expect(manager).toMatchObject({ isThere: false, watchdogMs: null });
  });

  test("that has gone makes nothing fail", async () => {
    const manager = await openServiceManager({ NOTIFY_SOCKET: join(folder, "nobody") });
    manager.ready();
    manager.alive();
  });

  test.each(["relative", `/${"x".repeat(200)}`])("cannot be at %j", async (address) => {
    await expect(openServiceManager({ NOTIFY_SOCKET: address })).rejects.toMatchObject({ code: "HOST_MISSING" });
  });
});
