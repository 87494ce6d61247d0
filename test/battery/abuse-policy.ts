import { parsePublicKey } from "../../agent/trust/ssh-key.ts";
import type { RootText } from "../support/gateway.ts";
import { type Attempt, insist, tried } from "./scenario.ts";
import type { Scene } from "./scene.ts";

/** What stands before abuse of what is allowed and of the repository, and what all of it is tried with. */

export const LIMIT_KBPS = 2_000;
/** A cap on bytes, and what may go over it: segments that the network card has joined are refused as one. */
export const CAP_BYTES = 300_000;
const capped = {
  limits: { egress_kbps: LIMIT_KBPS },
  exfil: { domains: { "api.allowed.test": { bytes: CAP_BYTES, period: "day" } } },
};
export const policyWith = (...names: readonly (string | object)[]) => ({
  version: 1,
  allow: {
    domains: ["a.allowed.test", "api.allowed.test", ...names],
    ips: ["203.0.113.60/32", "2001:db8:1::3c/128"],
    ports: [80, 443, 7002],
  },
  hosts: { limited: { sources: ["10.81.0.0/24", "fd81::/64"], ...capped } },
});
/** What somebody wants to be in force. */
export const wide = policyWith("www.denied.test");

/** People whose keys do not count any more: erin's is over, dave's is revoked. */
export const retired = ["erin", "dave"] as const;
export function retire(root: RootText, publicKeys: { readonly [person: string]: string }): RootText {
  const [erin = "", dave = ""] = retired.map((person) => publicKeys[person]);
  const policy = { ...root.roles.policy, principals: [...root.roles.policy.principals, ...retired].sort() };
  const key = parsePublicKey(dave);
  if (!key.ok) throw new Error("dave has no key");
  return {
    ...root,
    principals: {
      ...root.principals,
      erin: { keys: [{ key: erin, expires: "2020-01-01T00:00:00Z" }] },
      dave: { keys: [dave] },
    },
    roles: { ...root.roles, policy },
    revoked: [key.value.fingerprint],
  };
}

export const once = [4] as const;
export const connectAllowed = async (scene: Scene): Promise<void> => {
  insist("a.allowed.test:443", await scene.client.connect("a.allowed.test", 443, scene.by));
};
export const reachDenied = async (scene: Scene, what: string): Promise<Attempt> =>
  tried(what, await scene.client.connect("www.denied.test", 443, scene.by));
export const nothingDenied = (scene: Scene) => ({ packets: [{ to: scene.service(40) }], queries: ["*.denied.test"] });
export const deniedName = () => [{ plane: "dns", reason: "dns-not-allowed", name: "www.denied.test" }];

export const textOf = (policy: object): string => `${JSON.stringify(policy, null, 2)}\n`;

/** Puts the first policy back in force, whatever the clone holds, and waits for it. */
export const recover = async (scene: Scene): Promise<void> => {
  await scene.enforce(policyWith());
  await connectAllowed(scene);
};
