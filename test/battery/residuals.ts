import { insist } from "./scenario.ts";
import type { Scene } from "./scene.ts";

/**
 * What a gateway of this kind does not stop. Each is in agent/README.md under the same words, and is proved here to be
 * what that section says it is: no more, so that whoever relies on a limit of it can, and no less, so that it is taken out once it is stopped.
 */
export interface Residual {
  /** Missing: it has none of its own. */
  readonly id?: string;
  /** Words that begin its row in agent/README.md. */
  readonly title: string;
  readonly prove: (scene: Scene) => Promise<void>;
}

/** @throws Error when packets reached an address of the internet side since the mark */
async function nothingReached({ lab }: Scene, ...addresses: readonly string[]): Promise<void> {
  for (const to of addresses) {
    const { packets } = await lab.packets({ to });
    if (packets > 0) throw new Error(`${packets} packets reached ${to}`);
  }
}

/** Before the gateway that judges by addresses. */
export const packetResiduals: readonly Residual[] = [
  {
    title: "Other sites on the address of an allowed name",
    prove: async (scene) => {
      insist("its own site", await scene.client.tls("one.shared.test", 443, scene.by));
      const [address = ""] = scene.lab.names["two.shared.test"][`v${scene.family}`];
      insist("another site", await scene.client.tls(address, 443, { servername: "two.shared.test" }));
    },
  },
  {
    title: "DNS over HTTPS on an allowed host",
    prove: async (scene) => {
      insist("the query", await scene.client.get("a.allowed.test", 443, { ...scene.by, path: "/dns-query?dns=AAAA" }));
      const seen = (await scene.lab.requests()).at(-1);
      if (seen?.path !== "/dns-query?dns=AAAA") throw new Error(`the far side saw ${JSON.stringify(seen)}`);
      // Whatever it answers opens nothing.
      const address = scene.service(40);
      if ((await scene.client.connect(address, 443)).outcome !== "refused") throw new Error(`${address} is open`);
      await nothingReached(scene, address);
    },
  },
  {
    title: "An address that was asked for over the other family",
    prove: async (scene) => {
      const { lab, client, service } = scene;
      const other = scene.family === 4 ? 6 : 4;
      const asked = { type: scene.family === 4 ? "A" : "AAAA", server: lab.addresses.lan[`v${other}`] };
      insist("the question", await client.resolve("health.allowed.test", asked));
      // Whoever has the same rules may use it, nobody else.
      insist("a machine of the same rules", await lab.client("guest").connect(service(14), 443));
      await lab.mark();
      const outsider = await lab.client("agent2").connect(service(14), 443);
      if (outsider.outcome !== "refused") throw new Error(`a host with other rules: ${outsider.outcome}`);
      await nothingReached(scene, service(14));
    },
  },
];

/** Before the gateway that judges by server names. */
export const tlsResiduals: readonly Residual[] = [
  {
    // WT6
    id: "WT6",
    title: "Domain fronting",
    prove: async (scene) => {
      const front = await scene.client.get("a.allowed.test", 443, { ...scene.by, name: "www.denied.test" });
      insist("the inner request", front);
      const seen = (await scene.lab.requests()).at(-1);
      if (seen?.host !== "www.denied.test" || seen.address !== scene.service(10)) {
        throw new Error(`it did not go to the allowed name's own server: ${JSON.stringify(seen)}`);
      }
      await nothingReached(scene, scene.service(40));
    },
  },
  {
    title: "A proxy on an allowed host",
    prove: async (scene) => {
      const path = "http://www.denied.test/through";
      await scene.client.get("a.allowed.test", 443, { ...scene.by, path });
      const seen = (await scene.lab.requests()).at(-1);
      if (seen?.path !== path || seen.address !== scene.service(10)) throw new Error(JSON.stringify(seen));
      await nothingReached(scene, scene.service(40));
    },
  },
];
