import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import packet from "dns-packet";
import { afterEach, expect, test } from "vitest";
import { judgeProbes } from "../../../agent/health/judge.ts";
import { type ProbeResult, type ProbeTask, runProbe } from "../../../agent/health/probe.ts";

const servers: Socket[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

const SERVFAIL = 2;
const NXDOMAIN = 3;

/** A name server that answers one question after the other with what it is told; the last answer is kept. */
async function serve(...answers: readonly ("address" | "servfail" | "nxdomain")[]): Promise<string> {
  const socket = createSocket("udp4");
  servers.push(socket);
  let asked = 0;
  socket.on("message", (bytes, from) => {
    const { id = 0, questions = [] } = packet.decode(bytes);
    const answer = answers[Math.min(asked, answers.length - 1)];
    asked += 1;
    const rcode = { address: 0, servfail: SERVFAIL, nxdomain: NXDOMAIN }[answer ?? "servfail"];
    const name = questions[0]?.name ?? "";
    const records = answer === "address" ? [{ type: "A" as const, name, ttl: 1, data: "192.0.2.1" }] : [];
    const flags = packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE | rcode;
    socket.send(packet.encode({ type: "response", id, flags, questions, answers: records }), from.port, from.address);
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return `127.0.0.1:${(socket.address() as AddressInfo).port}`;
}

const task = (server: string, attempts: number, expects: "allow" | "deny" = "allow"): ProbeTask => ({
  ...{ name: "page", type: "dns", to: "www.example.com", port: null, expect: expects, servers: [server] },
  ...{ source4: null, source6: null, timeoutMs: 1_000, attempts, mandatory: false },
});

test("GE8: a probe that flaps passes when one of its attempts does", async () => {
  expect(await runProbe(task(await serve("servfail", "servfail", "address"), 3))).toMatchObject({ passed: true });
});

test("GE8: a probe fails when none of its attempts sees what it expects, and says what it saw last", async () => {
  const result = await runProbe(task(await serve("servfail", "nxdomain"), 2));
  expect(result).toMatchObject({ passed: false, detail: expect.stringMatching(/expected allow, .*NXDOMAIN/) });
});

test("GE8: trouble is no proof of a denial: it fails a probe that expects one", async () => {
  expect(await runProbe(task(await serve("servfail"), 2, "deny"))).toMatchObject({ passed: false });
  expect(await runProbe(task(await serve("servfail", "nxdomain"), 2, "deny"))).toMatchObject({ passed: true });
});

test("GE8: what failed before a change is named, and not blamed on it; what the gateway itself promises always is", () => {
  const result = (name: string, passed: boolean, mandatory = false): ProbeResult => {
    return { name, passed, mandatory, detail: "" };
  };
  const before = [result("page", false), result("api", true), result("built-in", false, true)];
  const names = (results: readonly ProbeResult[]) => results.map(({ name }) => name);
  const worse = judgeProbes(before, [result("page", false), result("api", false), result("built-in", true, true)]);
  expect(worse.healthy).toBe(false);
  expect(names(worse.blamed)).toEqual(["api"]);
  const same = judgeProbes(before, [result("page", false), result("api", true), result("built-in", true, true)]);
  expect(same.healthy).toBe(true);
  expect(names(same.failedBefore)).toEqual(["page"]);
  const broken = judgeProbes(before, [result("page", false), result("api", true), result("built-in", false, true)]);
  expect(broken.healthy).toBe(false);
});
