import type { Telemetry } from "../../agent/decisions/telemetry.ts";
import { sleepMs } from "../../agent/host/clock.ts";
import { type Attempt, gainedIf, insist, type Scenario, tried } from "./scenario.ts";
import type { Scene } from "./scene.ts";

/** WA4, WG7 and WG8: what is done out of sight of the repository, of its people, or of the agent. */

type Policy = (...domains: readonly (string | object)[]) => { readonly [key: string]: unknown };

const API_PORT = 8_099;
/** Section of agent.json that `WG7` needs. */
export const overrideApi = { port: API_PORT };
/** A line comes every 100 ms, and is acknowledged. */
const DRIP_MS = 2_500;
/** Long enough for a commit to come into force on a common machine, and on one that does much else. */
const EXPIRES_S = [12, 45] as const;

/** Returns the scenarios; `policyWith` gives what the stage enforces, with more names; `recover` puts it in force again. */
export function overrideScenarios(policyWith: Policy, recover: (scene: Scene) => Promise<void>): readonly Scenario[] {
  const once = [4] as const;
  const nothingDenied = (scene: Scene) => ({ packets: [{ to: scene.service(40) }], queries: ["*.denied.test"] });
  const reachDenied = async (scene: Scene, what: string): Promise<Attempt> =>
    tried(what, await scene.client.connect("www.denied.test", 443, scene.by));
  return [
    {
      id: "WA4",
      title: "a little at a time, for long, to an allowed host, so that nobody sees it",
      attack: async (scene) => {
        const result = await scene.client.stream("a.allowed.test", 80, scene.by);
        if (result.outcome !== "connected") throw new Error(JSON.stringify(result));
        await sleepMs(DRIP_MS);
        await result.stream.close();
        return [gainedIf("nobody sees who sends it and where", !(await isSeen(scene)))];
      },
      control: (scene) => recover(scene),
    },
    {
      id: "WG7",
      title: "a policy is posted to a gateway that follows a repository",
      families: once,
      attack: async (scene) => {
        const before = await scene.gateway?.head();
        const answer = await post(scene, { policy: policyWith("www.denied.test"), apply: true });
        const attempts = [gainedIf(`the policy is taken: ${answer}`, answer.includes('"success":true'))];
        if ((await scene.gateway?.head()) !== before) throw new Error("there is another commit");
        return [...attempts, await reachDenied(scene, "what it would open")];
      },
      forbidden: nothingDenied,
      control: recover,
      records: () => [{ plane: "dns", reason: "dns-not-allowed", name: "www.denied.test" }],
    },
    {
      id: "WG8",
      title: "an exception ends while the agent is dead and the repository out of reach",
      families: once,
      attack: async (scene) => {
        const endS = await enforceInTime(scene, policyWith);
        insist("before its end", await scene.client.connect("www.denied.test", 443, scene.by));
        await scene.killAgent();
        await scene.lab.git.fault({ kind: "silence" });
        await sleepMs(endS * 1000 - Date.now() + 1_000);
        await scene.lab.mark();
        const attempts = [
          await reachDenied(scene, "its name"),
          tried("its address", await scene.client.connect(scene.service(40), 443)),
        ];
        await scene.lab.git.fault(null);
        await scene.lab.git.dropConnections();
        return attempts;
      },
      forbidden: nothingDenied,
      control: async (scene) => {
        if (scene.gateway !== null) scene.startAgent();
        await recover(scene);
      },
      records: () => [{ plane: "dns", reason: "expired", name: "www.denied.test" }],
    },
  ];
}

/** Puts an exception in force that ends a few seconds later, and returns when. @throws Error when it was over before that */
async function enforceInTime(scene: Scene, policyWith: Policy): Promise<number> {
  for (const lastsS of EXPIRES_S) {
    const endS = Math.ceil(Date.now() / 1000) + lastsS;
    const expires = new Date(endS * 1000).toISOString().replace(".000", "");
    await scene.enforce(policyWith({ domain: "www.denied.test", expires }));
    if (Date.now() < endS * 1000 - 2_000) return endS;
  }
  throw new Error("no commit comes into force before it is over");
}

/** Whether telemetry names the machine, the name that it sends to, and bytes both ways. */
async function isSeen({ gateway, own }: Scene): Promise<boolean> {
  if (gateway === null) return false;
  const argv = ["telemetry", "agent", own, "--window", "24h", "--json", "--config", gateway.configFile];
  for (let attempt = 0; attempt < 20; attempt += 1) {
    const { stdout } = await gateway.clawgress(argv);
    const rows = stdout.startsWith("{") ? ((JSON.parse(stdout) as Partial<Telemetry>).rows ?? []) : [];
    const toName = rows.filter(({ by }) => Object.values(by).includes("a.allowed.test"));
    if (toName.some(({ bytesUp, bytesDown }) => bytesUp > 1_000 && bytesDown > 1_000)) return true;
    await sleepMs(500);
  }
  return false;
}

/** Returns what the gateway's API answers to a policy that somebody with a key of the scope `operate` posts. */
async function post({ gateway, lab }: Scene, body: object): Promise<string> {
  if (gateway === null) return '{"success":true}';
  const key = JSON.parse(
    (await gateway.clawgress(["key", "add", "battery", "--scope", "operate", "--json", "--config", gateway.configFile]))
      .stdout,
  ) as { readonly key: string };
  const { stdout } = await lab.exec("gateway", [
    ...["curl", "-sS", "--max-time", "20", "-X", "POST", "-d", JSON.stringify({ key: key.key, ...body })],
    `http://127.0.0.1:${API_PORT}/api/clawgress/policy`,
  ]);
  if (!stdout.includes("PROPOSAL_REMOTE") && !stdout.includes('"success":true')) throw new Error(stdout);
  return stdout;
}
