import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { isAppliedGrant } from "../../agent/compile/marks.ts";
import { sleepMs } from "../../agent/host/clock.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** What other tools and damaged parts do to a running gateway: nothing opens by it, and everything comes back by itself. */

let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;
const policy = { version: 1, allow: { domains: ["a.allowed.test"], ips: ["203.0.113.96/28"], ports: [80, 443] } };
const denied = "203.0.113.12";
/** Fails after four seconds, before a change and after it: what makes a change take that long. */
const slow = { name: "slow", type: "tcp", to: "b.allowed.test", port: 443, timeoutMs: 2_000, attempts: 2 };

beforeAll(async () => {
  lab = await startLab({ routeClients: true });
  const [address = ""] = lab.names["b.allowed.test"].v4;
  await lab.block([{ to: address, protocol: "tcp", port: 443, how: "drop" }]);
  gateway = await setUpGateway(lab, { policy, config: { health: { probes: [slow] } } });
  agent = gateway.start();
  const first = await gateway.head();
  await gateway.awaitStatus(first, ["success"]);
});

afterAll(async () => {
  await agent?.kill("SIGTERM");
  await lab?.stop();
});

const nft = async (...argv: string[]): Promise<void> => {
  await lab.execChecked("gateway", ["nft", ...argv]);
};
const outcome = async (to: string): Promise<string> => (await lab.client("agent1").connect(to, 443)).outcome;

test("the gate and ulogd, as the agent starts them, have one privilege and a user of their own", async () => {
  for (const name of ["gate", "ulogd"]) {
    const { pid } = JSON.parse(await readFile(join(gateway.folder, "run", `${name}.pid.json`), "utf8")) as {
      pid: number;
    };
    const status = await readFile(`/proc/${pid}/status`, "utf8");
    const field = (key: string): string => new RegExp(`^${key}:[ \\t]*(.*)$`, "m").exec(status)?.[1] ?? "";
    expect(field("CapEff"), name).toBe("0000000000001000");
    expect(field("CapPrm"), name).toBe("0000000000001000");
    expect(field("NoNewPrivs"), name).toBe("1");
    expect(field("Uid").split("\t"), name).not.toContain("0");
    expect(field("Groups").trim(), name).toBe("");
  }
});

test("GE5: a change touches no table but ours, and waits for no forge that its status would go to", async () => {
  const foreign = "table ip other {\n\tset s {\n\t\ttype ipv4_addr\n\t\telements = { 192.0.2.1 }\n\t}\n}\n";
  await lab.execChecked("gateway", ["nft", "-f", "-"], { stdin: foreign });
  await lab.statuses.fault({ kind: "status", status: 500 }, 2);
  const commit = await gateway.commit({ ...policy, labels: { "a.allowed.test": "first" } });
  await eventually("the change is in force", async () => {
    const { stdout } = await gateway.clawgress(["status", "--json", "--config", gateway.configFile]);
    return (JSON.parse(stdout) as { confirmed: { commit: string } }).confirmed.commit === commit;
  });
  const postponed = (await gateway.log()).filter(
    ({ event, commit: of }) => event === "status-postponed" && of === commit,
  );
  expect(postponed.length).toBeGreaterThan(0);
  expect(await lab.execChecked("gateway", ["nft", "list", "table", "ip", "other"])).toBe(foreign);
  const tables = (await lab.execChecked("gateway", ["nft", "list", "tables"])).trim().split("\n");
  expect(tables.sort()).toEqual(["table inet clawgress", "table inet clawgress_base", "table ip other"]);
  await gateway.awaitStatus(commit, ["success"]);
});

describe("what others do to it", () => {
  // Each test is one incident. All of them together would be a fight, which closes everything: drift.test.ts has that.
  beforeEach(async () => {
    expect((await gateway.clawgress(["resume", "--config", gateway.configFile])).exitCode).toBe(0);
  });

  test.each([
    ["every table", ["flush", "ruleset"]],
    ["the base table", ["delete", "table", "inet", "clawgress_base"]],
    ["the policy table", ["delete", "table", "inet", "clawgress"]],
  ])("GE18: %s is deleted by another tool: it is back within a second", async (_what, command) => {
    expect(await outcome("a.allowed.test")).toBe("connected");
    await nft(...command);
    await sleepMs(1000);
    await lab.mark();
    expect(await outcome(denied)).toBe("refused");
    expect((await lab.packets({ to: denied })).packets).toBe(0);
    await eventually("allowed names and networks are reached", async () => {
      return (await outcome("a.allowed.test")) === "connected" && (await outcome("203.0.113.97")) === "connected";
    });
  });

  test.each([
    ["a rule of the base table", ["insert", "rule", "inet", "clawgress_base", "forward", "accept"]],
    ["the policy of a chain of the base table", ["chain", "inet", "clawgress_base", "forward", "{ policy accept; }"]],
    ["an element of the lifeline", ["add", "element", "inet", "clawgress_base", "lifeline4", "{ 10.80.0.10 }"]],
    ["a rule of the policy table", ["insert", "rule", "inet", "clawgress", "forward", "accept"]],
    ["a grant of a network", ["delete", "element", "inet", "clawgress", "live", "{ GRANT }"]],
  ])("GE18: %s is changed by hand: it is found within 10 s, told, and put right", async (what, command) => {
    const restored = async (): Promise<number> => {
      const { stdout } = await gateway.clawgress(["status", "--json", "--config", gateway.configFile]);
      return (JSON.parse(stdout) as { drift: { restored: number } }).drift.restored;
    };
    const list = async (...argv: string[]): Promise<string> => await lab.execChecked("gateway", ["nft", ...argv]);
    const listAll = async (): Promise<string> => {
      const tables = ["clawgress_base", "clawgress"].map((table) => list("-s", "-t", "list", "table", "inet", table));
      return (await Promise.all([...tables, list("list", "set", "inet", "clawgress_base", "lifeline4")])).join("");
    };
    expect(await outcome("203.0.113.97")).toBe("connected");
    const live = await list("list", "set", "inet", "clawgress", "live");
    const grants = live.match(/0x[0-9a-f]{8} \. 0x[0-9a-f]{8}/g) ?? [];
    const grant = grants.find((pair) => isAppliedGrant(Number(pair.split(" ").at(-1)))) ?? "";
    const [sound, before] = await Promise.all([listAll(), restored()]);
    await nft(...command.map((word) => word.replace("GRANT", grant)));
    await eventually(`${what} is put right`, async () => (await restored()) > before);
    const told = (await gateway.log()).filter(({ event }) => event === "drift-restored");
    expect(told.length).toBeGreaterThan(0);
    expect(await listAll()).toBe(sound);
    expect(await list("list", "set", "inet", "clawgress", "live")).toContain(grant);
    expect(await outcome(denied)).toBe("refused");
    expect(await outcome("203.0.113.97")).toBe("connected");
  });

  test("GE18: a zone that was changed by hand, and loaded, is the release's again", async () => {
    const zone = join(gateway.folder, "run", "named", "allow.zone");
    const sound = await readFile(zone, "utf8");
    await writeFile(zone, `${sound}www.denied.test CNAME rpz-passthru.\n`);
    await lab.execChecked("gateway", [
      ...["rndc", "-s", "127.0.0.1", "-p", "9953", "-k", join(gateway.folder, "run", "named", "rndc.key"), "reload"],
    ]);
    const byNamed = async (): Promise<string> =>
      await lab.execChecked("gateway", ["dig", "-p", "5453", "@127.0.0.1", "www.denied.test", "A"]);
    await eventually("named resolves it", async () => (await byNamed()).includes("NOERROR"));
    // The gate does not, whatever named says.
    expect(await outcome("www.denied.test")).toBe("unresolved");
    await eventually("named denies it again", async () => (await byNamed()).includes("NXDOMAIN"));
    expect(await readFile(zone, "utf8")).toBe(sound);
  });

  test("GE5: the tables are deleted while a change is probed: they are back within a second", async () => {
    const countSwaps = async (): Promise<number> =>
      (await gateway.log()).filter(({ event }) => event === "apply-read-back").length;
    const before = await countSwaps();
    const commit = await gateway.commit({ ...policy, labels: { "a.allowed.test": "changed" } });
    await eventually("the change is in force, and probed", async () => (await countSwaps()) > before);
    await nft("flush", "ruleset");
    await sleepMs(1000);
    expect(await readFile(join(gateway.folder, "state", "txn", "armed"), "utf8")).toContain(commit);
    await lab.mark();
    expect(await outcome(denied)).toBe("refused");
    expect((await lab.packets({ to: denied })).packets).toBe(0);
    await gateway.awaitStatus(commit, ["success", "failure", "error"]);
    await eventually("allowed names are reached", async () => (await outcome("a.allowed.test")) === "connected");
  });

  test("a table that another tool made anew is filled again", async () => {
    await nft("flush", "ruleset");
    await nft("-f", join(gateway.folder, "run", "base.nft"));
    await eventually("allowed names are reached", async () => (await outcome("a.allowed.test")) === "connected");
    expect(await outcome(denied)).toBe("refused");
  });

  test.each(["gate", "named"])("the pid file of %s is lost: it is started anew, not a second time", async (name) => {
    const file = join(gateway.folder, "run", `${name}.pid.json`);
    const pidOf = async (): Promise<number> => (JSON.parse(await readFile(file, "utf8")) as { pid: number }).pid;
    const before = await pidOf();
    await rm(file);
    await eventually("another runs", async () => (await pidOf().catch(() => before)) !== before);
    expect(await readFile(`/proc/${before}/stat`, "utf8").catch(() => "gone")).toBe("gone");
    await eventually("allowed names are reached", async () => (await outcome("a.allowed.test")) === "connected");
    expect(await outcome("www.denied.test")).toBe("unresolved");
  });

  test("named's user has no hand in what root writes, or what named is started with", async () => {
    const run = join(gateway.folder, "run");
    const asNamed = async (script: string): Promise<number> =>
      (await lab.exec("gateway", ["setpriv", "--reuid=bind", "--regid=bind", "--clear-groups", "sh", "-c", script]))
        .exitCode;
    for (const name of ["named/named.conf", "named/allow.zone", "named/rndc.key", "named/start.log", "base.nft"]) {
      const path = join(run, name);
      expect(await asNamed(`test -w ${path} -o -w $(dirname ${path})`), name).toBe(1);
      expect(await asNamed(`rm -f ${path}; ln -s /etc/passwd ${path}`), name).not.toBe(0);
    }
    expect(await readFile(join(run, "named", "named.conf"), "utf8")).toContain("response-policy");
  });
});
