import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import type { GatewayStatus } from "../../agent/report/gateway-status.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** What becomes of changes by hand that are not put right, and of a program that makes them again and again. */

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;
const policy = { version: 1, allow: { domains: ["a.allowed.test"], ips: ["203.0.113.96/28"], ports: [80, 443] } };
const denied = "203.0.113.12";

beforeAll(async () => {
  lab = await startLab({ routeClients: true });
  gateway = await setUpGateway(lab, { policy });
  agent = gateway.start();
  await gateway.awaitStatus(await gateway.head(), ["success"]);
});

afterAll(async () => {
  await agent?.kill("SIGTERM");
  await lab?.stop();
});

const nft = async (...argv: string[]): Promise<void> => {
  await lab.execChecked("gateway", ["nft", ...argv]);
};
const outcome = async (to: string): Promise<string> => (await lab.client("agent1").connect(to, 443)).outcome;

/** Writes agent.json anew and starts the agent with it. */
async function restartWith(settings: object): Promise<void> {
  const config = JSON.parse(await readFile(gateway.configFile, "utf8")) as object;
  await writeFile(gateway.configFile, JSON.stringify({ ...config, ...settings }));
  await agent.kill("SIGTERM");
  agent = gateway.start();
  await eventually("the agent is there", async () => (await status()).agent.pid !== null);
}

const status = async (): Promise<GatewayStatus> =>
  JSON.parse((await gateway.clawgress(["status", "--json", "--config", gateway.configFile])).stdout) as GatewayStatus;

test("GE18: with drift.response hold, what was changed by hand is told of and stays, until an operator resumes", async () => {
  await restartWith({ drift: { response: "hold" } });
  const listBase = (): Promise<string> =>
    lab.execChecked("gateway", ["nft", "-s", "-t", "list", "table", "inet", "clawgress_base"]);
  const sound = await listBase();
  await nft("insert", "rule", "inet", "clawgress_base", "forward", "counter");
  const changed = await listBase();
  await eventually("it is told", async () => (await status()).drift.held !== null);
  const { degraded } = await status();
  expect(degraded.join("\n")).toMatch(/somebody changed what is enforced.*forward of the base table/);
  await sleepMs(11_000);
  expect(await listBase()).toBe(changed);
  expect((await gateway.clawgress(["resume", "--config", gateway.configFile])).exitCode).toBe(0);
  await eventually("it is put right", async () => (await listBase()) === sound);
  await eventually("and status says so", async () => (await status()).drift.held === null);
  await restartWith({ drift: { response: "heal" } });
});

test("GE18: a fight with another tool ends with everything but the lifeline closed, told, and tried again", async () => {
  const isClosed = async (): Promise<boolean> => (await status()).lifeline?.code === "HELD_FIGHT";
  const fight = async (): Promise<void> => {
    for (let blow = 0; blow < 30 && !(await isClosed()); blow++) {
      const countRestored = async (): Promise<number> =>
        (await gateway.log()).filter(({ event }) => event === "tables-restored").length;
      const before = await countRestored();
      await nft("flush", "ruleset");
      await eventually("the tables are back", async () => (await countRestored()) > before);
    }
  };
  const commit = (await status()).confirmed.commit ?? "";
  await fight();
  await eventually("everything is closed", isClosed);
  await lab.mark();
  expect(await outcome("203.0.113.97")).toBe("refused");
  expect(await outcome("a.allowed.test")).toBe("unresolved");
  expect((await lab.packets({ to: "203.0.113.97" })).packets).toBe(0);
  expect((await status()).degraded.join("\n")).toMatch(/another program changed what is enforced/);
  expect((await gateway.awaitStatus(commit, ["failure", "error"])).description).toContain("HELD_FIGHT");
  const refused = await gateway.clawgress(["rollback", "--reason", "x", "--config", gateway.configFile]);
  expect(refused.exitCode).toBe(75);

  expect((await gateway.clawgress(["resume", "--config", gateway.configFile])).exitCode).toBe(0);
  await eventually("allowed names are reached", async () => (await outcome("a.allowed.test")) === "connected");
  await gateway.awaitStatus(commit, ["success"]);

  await fight();
  await eventually("everything is closed again", isClosed);
  // As when its minute is over.
  const note = join(gateway.folder, "run", "fight.json");
  await writeFile(note, JSON.stringify({ ...JSON.parse(await readFile(note, "utf8")), untilBootMs: 0 }));
  await eventually("it comes back by itself", async () => (await outcome("a.allowed.test")) === "connected");
  expect(await outcome(denied)).toBe("refused");
});
