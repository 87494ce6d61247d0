import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { styleText } from "node:util";
import { sleepMs } from "../../agent/host/clock.ts";
import { runChecked } from "../../agent/host/run.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/**
 * The main job, live: real Git over HTTPS, real named, nftables and clients in network namespaces. Every line that is
 * shown is what a client, the kernel or the forge said; a line that is not what it should be ends the demo with an error.
 */

const started = performance.now();
const useColor = process.stdout.isTTY === true && process.env["NO_COLOR"] === undefined;
const paint = (format: "bold" | "dim" | "green" | "red", text: string): string =>
  useColor ? styleText(format, text) : text;

let chapter = 0;
let failures = 0;

function heading(text: string): void {
  chapter += 1;
  console.log(`\n${paint("bold", `${chapter}. ${text}`)}`);
}

function show(what: string, isRight: boolean, detail: string, tookMs?: number): void {
  const time = tookMs === undefined ? "" : paint("dim", `  ${Math.round(tookMs)} ms`);
  const mark = isRight ? paint("green", "✔") : paint("red", "✘ unexpected:");
  if (!isRight) failures += 1;
  console.log(`   ${mark} ${what.padEnd(46)} ${detail}${time}`);
}

const names = (...domains: string[]) => ({
  version: 1,
  allow: { domains: ["health.allowed.test", ...domains], ports: [80, 443] },
  labels: { "health.allowed.test": "monitoring" },
});

async function reach(lab: Lab, name: string, isAllowed: boolean): Promise<void> {
  const result = await lab.client("agent1").get(name, 443);
  if (result.outcome === "connected") {
    show(`agent-1 → https://${name}`, isAllowed, `${result.status} ${result.body.trim()}`, result.ms);
    return;
  }
  const why = "rcode" in result ? result.rcode : "code" in result ? result.code : "silence";
  show(`agent-1 → https://${name}`, !isAllowed, why, result.ms);
}

/** Waits for the commit's final status and shows it as the forge received it. */
async function showStatus(gateway: TestGateway, commit: string, isGreen: boolean): Promise<void> {
  const pushedMs = performance.now();
  const status = await gateway.awaitStatus(commit, ["success", "failure", "error"]);
  const isRight = (status.state === "success") === isGreen;
  const color = status.state === "success" ? "green" : "red";
  show(
    `status of ${commit.slice(0, 7)} (${status.context})`,
    isRight,
    paint(color, status.state),
    performance.now() - pushedMs,
  );
  console.log(`     ${paint("dim", status.description ?? "")}`);
}

async function signAsStranger(gateway: TestGateway, clone: string): Promise<void> {
  const [folder = ""] = await readdir(join(clone, "approvals"));
  const lock = await readFile(join(clone, "clawgress.lock.json"), "utf8");
  const argv = [
    "ssh-keygen",
    "-Y",
    "sign",
    "-n",
    "clawgress-policy@v1",
    "-f",
    gateway.keys["mallory"] ?? "",
    "-",
  ] as const;
  const signature = await runChecked([...argv], { stdin: lock, timeoutMs: 10_000 });
  await writeFile(join(clone, "approvals", folder, "bob.sig"), signature);
}

async function tell(lab: Lab): Promise<void> {
  heading("A gateway starts with what alice and bob signed: serial 1");
  const probes = [{ name: "health page", type: "tcp", host: "*", to: "health.allowed.test", port: 443 }];
  const gateway = await setUpGateway(lab, { policy: names("api.allowed.test"), config: { health: { probes } } });
  const first = await gateway.head();
  gateway.start();
  await showStatus(gateway, first, true);
  await lab.mark();
  await reach(lab, "api.allowed.test", true);
  await reach(lab, "www.allowed.test", false);
  await reach(lab, "secret-data.denied.test", false);
  const leaked = await lab.queries({ name: "*.denied.test" });
  show("queries for denied names that left the gateway", leaked.length === 0, String(leaked.length));

  heading("A merged commit adds a name");
  const added = await gateway.commit(names("api.allowed.test", "www.allowed.test"), { message: "allow the web page" });
  await showStatus(gateway, added, true);
  await reach(lab, "www.allowed.test", true);

  heading("A commit whose second approval is a stranger's");
  const forged = await gateway.commit(names("api.allowed.test", "www.allowed.test", "*.denied.test"), {
    message: "open everything",
    signers: ["alice"],
    tamper: (clone) => signAsStranger(gateway, clone),
  });
  await showStatus(gateway, forged, false);
  await reach(lab, "www.denied.test", false);
  await reach(lab, "www.allowed.test", true);

  heading("A signed commit that passes every check, but breaks the health probe");
  const broken = { version: 1, allow: { domains: ["api.allowed.test", "www.allowed.test"], ports: [80, 443] } };
  const breaking = await gateway.commit(broken, { message: "tidy up" });
  await showStatus(gateway, breaking, false);
  await reach(lab, "health.allowed.test", true);

  heading("A commit takes a name away while connections are open");
  const kept = await lab.client("agent1").stream("api.allowed.test", 80);
  const cut = await lab.client("agent1").stream("www.allowed.test", 80);
  if (kept.outcome !== "connected" || cut.outcome !== "connected") throw new Error("the streams do not open");
  const removed = await gateway.commit(names("api.allowed.test"), { message: "the web page is not needed" });
  await showStatus(gateway, removed, true);
  // Each side is told at its own next packet.
  await cut.stream.write();
  await sleepMs(300);
  const [cutState, keptState] = await Promise.all([cut.stream.state(), kept.stream.state()]);
  show("the connection to www.allowed.test", cutState.state === "reset", cutState.state);
  show(
    "the connection to api.allowed.test",
    keptState.state === "open",
    `${keptState.state}, ${keptState.bytes} bytes so far`,
  );
  await reach(lab, "www.allowed.test", false);
}

console.log("Clawgress: clients – gateway – internet in network namespaces of this machine; nothing else is touched.");
const lab = await startLab();
try {
  await tell(lab);
} catch (error) {
  failures += 1;
  console.error(error);
  const log = await readFile(join(lab.folder, "gateway", "agent.log"), "utf8").catch(() => "the agent wrote no log");
  console.error(`The agent's last words:\n${log.split("\n").slice(-15).join("\n")}`);
} finally {
  await lab.stop();
}
const seconds = ((performance.now() - started) / 1000).toFixed(1);
console.log(
  failures === 0 ? `\nDone in ${seconds} s.` : `\n${failures} things were not as they should be (${seconds} s).`,
);
process.exit(failures === 0 ? 0 : 1);
