import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { sleepMs } from "../../agent/host/clock.ts";
import type { Lab } from "../lab/lab.ts";
import type { TestGateway } from "../support/gateway.ts";

/** Where the second named listens on the gateway. */
export const ALONE_PORT = 5399;

/**
 * Starts a second named beside the gateway's own, with the same zones and options, that clients reach directly: what a
 * gateway with RPZ and no gate is. It ends with the lab. @throws Error when it does not answer
 */
export async function startNamedAlone(lab: Lab, gateway: TestGateway): Promise<void> {
  const folder = join(lab.folder, "named-alone");
  await mkdir(join(folder, "work"), { recursive: true });
  const own = join(gateway.folder, "run", "named");
  for (const name of ["block.zone", "allow.zone", "deny.zone", "rndc.key"])
    await cp(join(own, name), join(folder, name));
  const text = await readFile(join(own, "named.conf"), "utf8");
  const changed = text
    .replace(/^controls \{[\s\S]*?^\};\n/m, "")
    .replace(/listen-on port \d+ \{[^}]*\};/, `listen-on port ${ALONE_PORT} { any; };`)
    .replace(/listen-on-v6 [^\n]*\n/, "")
    .replaceAll(/(allow-query|allow-recursion|allow-query-cache) \{[^}]*\};/g, "$1 { any; };");
  await writeFile(join(folder, "named.conf"), `controls { };\n${changed}`);
  lab.spawn("gateway", ["named", "-f", "-c", "../named.conf"], {
    cwd: join(folder, "work"),
    logFile: join(folder, "start.log"),
  });
  // The base table keeps clients from every port of the gateway but the gate's.
  const open = `insert rule inet clawgress_base input iifname "lan0" udp dport ${ALONE_PORT} accept\n`;
  await lab.execChecked("gateway", ["nft", "-f", "-"], { stdin: open });
  const ask = () => lab.client("agent1").resolve("www.allowed.test", { port: ALONE_PORT, timeoutMs: 500 });
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const answer = await ask();
    if (answer.outcome === "answer" && answer.addresses.length > 0) return;
    await sleepMs(100);
  }
  throw new Error(`the second named does not answer: ${await readFile(join(folder, "start.log"), "utf8")}`);
}
