import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  changeProxyMap,
  endProxyFlows,
  listProxyFlows,
  readProxyMap,
  readProxyRefused,
  replaceProxyMap,
} from "../../../agent/apply/proxy-control.ts";

/** A proxy that answers each command by a table and ends the connection, as HAProxy does; the answers are HAProxy 2.6's. */
let folder: string;
let path: string;
let server: Server;
let commands: string[];
let answers: { readonly [start: string]: string };

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "clawgress-control-"));
  path = join(folder, "stats.sock");
  commands = [];
  answers = {};
  server = createServer((socket) => {
    let text = "";
    socket.on("data", (data) => {
      text += data.toString();
      // A payload ends with an empty line.
      if (text.includes("<<") && !text.endsWith("\n\n")) return;
      commands.push(text.trimEnd());
      const [, answer = "\n"] = Object.entries(answers).find(([start]) => text.startsWith(start)) ?? [];
      socket.end(answer);
    });
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
});
afterEach(async () => {
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true });
});

describe("maps", () => {
  test("are read as lines, without their places in memory", async () => {
    answers = { "show map tls.map": "0x7f01 a.test@* 1\n0x7f02 b.test*@agent-1 1\n\n" };
    expect([...(await readProxyMap(path, "tls.map"))]).toEqual(["a.test@* 1", "b.test*@agent-1 1"]);
  });

  test("that do not exist are an error, not an empty map", async () => {
    answers = { "show map": "Unknown map identifier. Please use #<id> or <file>.\n\n" };
    await expect(readProxyMap(path, "tls.map")).rejects.toMatchObject({ code: "APPLY_FAILED" });
  });

  test("are replaced in pieces that fit the proxy's buffer, and take effect at once", async () => {
    answers = { "prepare map": "New version created: 7\n\n" };
    const lines = Array.from({ length: 1000 }, (_, index) => `n${index}.example.com@agent-1 1`);
    await replaceProxyMap(path, "tls.map", lines);
    expect(commands[0]).toBe("prepare map tls.map");
    expect(commands.at(-1)).toBe("commit map @7 tls.map");
    const added = commands.slice(1, -1);
    expect(added.length).toBeGreaterThan(1);
    for (const command of added) expect(command.length).toBeLessThan(16_384);
    const sent = added.flatMap((command) => command.split("\n").slice(1));
    expect(sent).toEqual(lines);
  });

  test.each(["prepare map", "add map", "commit map"])("what the proxy refuses is an error: %s", async (command) => {
    answers = { [command]: "Out of memory error.\n\n", "prepare map": "New version created: 1\n\n" };
    if (command === "prepare map") answers = { "prepare map": "Out of memory error.\n\n" };
    await expect(replaceProxyMap(path, "tls.map", ["a.test@* 1"])).rejects.toMatchObject({
      code: "APPLY_FAILED",
      message: expect.stringContaining("Out of memory"),
    });
  });

  test("change line by line", async () => {
    await changeProxyMap(path, "tls.map", { removed: ["a.test@* 1"], added: ["b.test@* 1"] });
    expect(commands).toEqual(["del map tls.map a.test@*", "add map tls.map <<\nb.test@* 1"]);
    answers = { "del map": "Key not found.\n\n" };
    const change = changeProxyMap(path, "tls.map", { removed: ["a.test@* 1"], added: [] });
    await expect(change).rejects.toMatchObject({ code: "APPLY_FAILED" });
  });
});

describe("connections", () => {
  test("are those in use, of both planes and families", async () => {
    answers = {
      "show table flows": `# table: flows, type: string, size:8192, used:5
0x1: key=10.0.0.1|4000|a.test|tls use=1 exp=120 conn_cur=1 gpt0=0 gpt1=0 gpt2=0 gpt3=3405803836 gpt4=0
0x2: key=10.0.0.1|4001|b.test|tls use=0 exp=597 conn_cur=0 gpt0=0 gpt1=0 gpt2=0 gpt3=3405803836 gpt4=4
0x3: key=fd80::10|4000|a.test|http use=2 exp=0 conn_cur=1 gpt0=536939960 gpt1=0 gpt2=0 gpt3=1 gpt4=6
0x4: key=10.0.0.1|4002|a.test|tls use=1 exp=120 conn_cur=1 gpt0=1 gpt1=2 gpt2=3 gpt3=3405803836 gpt4=4

`,
    };
    expect(await listProxyFlows(path, "flows")).toEqual([
      { client: "10.0.0.1", port: 4000, name: "a.test", plane: "tls", address: null },
      { client: "fd80::10", port: 4000, name: "a.test", plane: "http", address: "2001:db8::1" },
      { client: "10.0.0.1", port: 4002, name: "a.test", plane: "tls", address: "203.0.113.60" },
    ]);
  });

  test("are counted by client and plane when they are refused", async () => {
    answers = {
      "show table clients": `# table: clients, type: ipv6, size:8192, used:3
0x556aca815210: key=::ffff:127.0.0.1 use=0 exp=599997 gpc0=665 conn_cur=0 gpc1=2
0x556aca815211: key=fd80::10 use=1 exp=10 gpc0=0 conn_cur=1 gpc1=7
0x556aca815212: key=fd80::11 use=1 exp=10 gpc0=0 conn_cur=1 gpc1=0

`,
    };
    const refused = await readProxyRefused(path, "clients");
    expect([...refused]).toEqual([
      ["tls 127.0.0.1", 665],
      ["http 127.0.0.1", 2],
      ["http fd80::10", 7],
    ]);
  });

  test("end one by one: the same client port at the other plane is another connection", async () => {
    answers = {
      "show sess": `0x7f01: proto=tcpv4 src=10.0.0.1:4000 fe=tls4 be=tls srv=far ts=00 epoch=0 age=1s
0x7f02: proto=tcpv4 src=10.0.0.1:4000 fe=http4 be=http srv=far ts=00 epoch=0 age=1s
0x7f03: proto=tcpv6 src=fd80::10:4000 fe=tls6 be=tls srv=far ts=00 epoch=0 age=1s
0x7f04: proto=tcpv4 src=10.0.0.11:4000 fe=tls4 be=tls srv=far ts=00 epoch=0 age=1s
0x7f05: proto=unix_stream src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00 epoch=0 age=0s

`,
    };
    await endProxyFlows(path, [
      { client: "10.0.0.1", port: 4000, name: "a.test", plane: "tls", address: null },
      { client: "fd80::10", port: 4000, name: "a.test", plane: "tls", address: null },
    ]);
    expect(commands.slice(1)).toEqual(["shutdown session 0x7f01", "shutdown session 0x7f03"]);
  });

  test("of a proxy that is gone are an error", async () => {
    await expect(listProxyFlows(join(folder, "nobody.sock"), "flows")).rejects.toMatchObject({ code: "APPLY_FAILED" });
  });
});
