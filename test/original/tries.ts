import { sleepMs } from "../../agent/host/clock.ts";
import type { ClientNode } from "../lab/addresses.ts";
import type { DnsQuestion, LabStream } from "../lab/client.ts";
import type { Side } from "./side.ts";
import { isWithin, wordAnswer, wordCap, wordEnding, wordRate, wordTransfer } from "./verdict.ts";

/** Long enough for a proxy that tries a dead server three times. */
const TIMEOUT_MS = 8_000;

/** Connects to an address. */
export async function tryAddress(
  { lab }: Side,
  to: string,
  port: number,
  from: ClientNode = "agent1",
): Promise<string> {
  await lab.mark();
  const result = await lab.client(from).connect(to, port, { timeoutMs: 3_000 });
  return wordEnding(result, (await lab.packets({ to, port })).packets);
}

/** Asks for a page over HTTPS by its name, for a while: a proxy may need to find the name's server first. */
export async function tryPage({ lab }: Side, name: string, address: string, patienceMs = 0): Promise<string> {
  const deadlineMs = performance.now() + patienceMs;
  for (;;) {
    await lab.mark();
    const result = await lab.client("agent1").get(name, 443, { timeoutMs: 4_000 });
    if (result.outcome === "connected" || performance.now() > deadlineMs) {
      const left = await lab.packets({ to: address, port: 443 });
      const questions = (await lab.queries({ name })).length;
      const word = wordEnding(result, left.packets);
      return result.outcome === "unresolved" && questions === 0 ? `${word}, none left` : word;
    }
    await sleepMs(500);
  }
}

/** Shakes hands with an address, by a server name or none, and says whose server answered. */
export async function tryTls({ lab }: Side, to: string, servername: string, own?: string): Promise<string> {
  await lab.mark();
  const result = await lab.client("agent1").tls(to, 443, { servername, timeoutMs: TIMEOUT_MS });
  const dialled = (await lab.packets({ to, port: 443 })).packets;
  const others = own === undefined ? 0 : (await lab.packets({ to: own, port: 443 })).packets;
  if (result.outcome === "connected" && dialled === 0 && others > 0) return "reaches the name's own address";
  return wordEnding(result, dialled);
}

/** Asks a question. */
export async function tryName({ lab }: Side, name: string, question: DnsQuestion = {}): Promise<string> {
  await lab.mark();
  const result = await lab.client("agent1").resolve(name, question);
  return wordAnswer(result, (await lab.queries({ name })).length);
}

/** Asks the gateway for all of the zone that holds the allowed names. */
export async function tryTransfer({ lab, allowZone }: Side): Promise<string> {
  const server = `@${lab.addresses.lan.v4}`;
  const argv = ["dig", server, "+tcp", "+time=3", "+tries=1", allowZone, "AXFR"];
  const { exitCode, stdout } = await lab.exec("agent1", argv, { timeoutMs: 15_000 });
  // No connection, or silence.
  return exitCode === 9 ? "no answer" : wordTransfer(stdout);
}

/**
 * Sends to an address as fast as it goes, or at 200 Mbit/s, and says what arrived in three seconds. On a machine with other
 * work neither sender nor counter is always in time, so that a limit has three tries to be kept to.
 */
export async function tryRate({ lab }: Side, to: string, limitKbps: number): Promise<string> {
  const timing = { warmUpMs: 1_500, forMs: 3_000, atKbps: 200_000, timeoutMs: 4_000 };
  for (let attempt = 1; ; attempt += 1) {
    const result = await lab.client("agent1").upload(to, timing);
    if (result.outcome !== "connected") return wordEnding(result, 0);
    if (attempt === 3 || isWithin(result.kbps, limitKbps)) return wordRate(result.kbps, limitKbps);
  }
}

/** Uploads to a name over HTTPS for a second and a half, and says what the far side was sent, headers and all. */
export async function tryCap({ lab }: Side, name: string, address: string, capBytes: number): Promise<string> {
  await lab.mark();
  const how = { warmUpMs: 0, forMs: 1_500, atKbps: 20_000, web: true, port: 443, timeoutMs: 4_000 };
  const result = await lab.client("agent1").upload(name, how);
  const { bytes } = await lab.packets({ to: address, protocol: "tcp", port: 443 });
  return result.outcome === "connected" || bytes > 0 ? wordCap(bytes, capBytes) : wordEnding(result, 0);
}

/** Opens a connection on which a line comes every 100 ms. @throws Error when it does not open */
export async function openFlow({ lab }: Side, to: string): Promise<LabStream> {
  const result = await lab.client("agent1").stream(to, 80);
  if (result.outcome !== "connected") throw new Error(`no flow to ${to}:80: ${result.outcome}`);
  return result.stream;
}

/** Says what became of a connection two seconds after the policy changed. */
export async function wordFlow(flow: LabStream): Promise<string> {
  await sleepMs(2_000);
  const { state, silentMs } = await flow.state();
  await flow.close();
  return state === "open" && silentMs < 1_000 ? "goes on" : "ended";
}
