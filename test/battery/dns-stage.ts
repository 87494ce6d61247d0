import { sleepMs } from "../../agent/host/clock.ts";
import { hostileNames } from "../lab/addresses.ts";
import type { DnsQuestion, DnsResult } from "../lab/client.ts";
import { insist } from "./scenario.ts";
import type { Scene, StageOptions } from "./scene.ts";

/** What the scenarios of names play before, and how they ask. */

export const hostile = Object.keys(hostileNames);
/** So low that a tunnel under an allowed wildcard is cut within a test. */
export const MAX_NAMES = 64;
/** Of a client and reason so many records are written at once, and then one a second; the rest is counted. */
export const RECORDS_AT_ONCE = 10;
export const RECORD_EVERY_MS = 1_050;

export const policyWith = (...more: readonly string[]) => ({
  version: 1,
  allow: {
    domains: [
      "a.allowed.test",
      "www.allowed.test",
      "many.allowed.test",
      "*.wild.test",
      "www.chain.test",
      "*.moving.test",
      ...hostile,
      ...more,
    ],
    ports: [80, 443],
  },
});

export const dnsStage: StageOptions = async () => ({
  policy: policyWith(),
  config: { gate: { maxNamesPerClient: MAX_NAMES } },
});

export const ask = (scene: Scene, name: string, question: DnsQuestion = {}): Promise<DnsResult> =>
  scene.client.resolve(name, { server: scene.by.resolver, ...question });

/**
 * An allowed name that nobody asked before: the question goes all the way. Who is so new that the kernel does not know the
 * machine shares the names under wildcards with all that are, and WD3 has used those up: it asks again, as resolvers do.
 */
export const askAllowed = async (scene: Scene): Promise<void> => {
  const name = `${scene.fresh()}.wild.test`;
  const type = addressType(scene);
  let result = await ask(scene, name, { type });
  for (let retry = 0; retry < 3 && result.outcome === "answer" && result.rcode === "SERVFAIL"; retry++) {
    await sleepMs(200);
    result = await ask(scene, name, { type });
  }
  insist(name, result);
  const arrived = await scene.lab.queries({ name });
  if (arrived.length === 0) throw new Error(`${name} is allowed, but was not asked on the internet side`);
};

export const connectAllowed = async (scene: Scene): Promise<void> => {
  insist("a.allowed.test:443", await scene.client.connect("a.allowed.test", 443, scene.by));
};

export const addressOf = (scene: Scene, name: "git.lab.test" | "e9.cdn2-unlisted.test"): string =>
  scene.lab.names[name][`v${scene.family}`][0] ?? "";

export const addressType = ({ family }: Scene): "A" | "AAAA" => (family === 4 ? "A" : "AAAA");

export const notAllowed = () => [{ plane: "dns", reason: "dns-not-allowed" }];
