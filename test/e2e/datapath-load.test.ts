import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Lab, startLab } from "../lab/lab.ts";
import { type Datapath, raiseDatapath } from "../support/datapath.ts";

let lab: Lab;
let path: Datapath;

beforeAll(async () => {
  lab = await startLab();
  path = await raiseDatapath(lab);
});
afterAll(async () => await lab?.stop());

describe("the policy table under load", () => {
  it("applies lose no pin that is written meanwhile", async () => {
    const [applies, pins] = [200, 300];
    const document = {
      version: 1,
      allow: { domains: ["one.example.com"], ips: ["203.0.113.0/24"], ports: [80, 443] },
    };
    const { policy } = await path.load(document);
    const applying = (async () => {
      for (let turn = 0; turn < applies; turn += 1) await path.load(document);
    })();
    const writing = (async () => {
      for (let turn = 0; turn < pins; turn += 1) {
        await path.pin({
          policy,
          group: "*",
          client: lab.addresses.agent1.v4,
          address: `198.51.${100 + Math.floor(turn / 250)}.${turn % 250}`,
          name: "one.example.com",
          range: { protocol: "tcp", first: 443, last: 443 },
          timeoutS: 300,
        });
      }
    })();
    await Promise.all([applying, writing]);
    const listing = await path.list("map", "inet", "clawgress", "pin4");
    expect(listing.match(/198\.51\.\d+\.\d+/g)).toHaveLength(pins);
  }, 120_000);

  const placesOf = (count: number): readonly string[] =>
    Array.from(
      { length: count },
      (_, index) => `${20 + Math.floor(index / 65_536)}.${Math.floor(index / 256) % 256}.${index % 256}.0/24`,
    );

  it("10,000 hosts with three ports each, first and again", async () => {
    const hosts = Array.from({ length: 10_000 }, (_, index) => [
      `host-${index}`,
      {
        sources: [`10.${100 + Math.floor(index / 62_500)}.${Math.floor(index / 250) % 250}.${index % 250}`],
        allow: { ips: [`198.18.${index % 256}.${Math.floor(index / 256)}`], ports: [53, 80, 443] },
      },
    ]);
    const document = { version: 1, allow: { domains: ["none.example.com"] }, hosts: Object.fromEntries(hosts) };
    const [first, again] = [await path.load(document), await path.load(document)];
    console.log(
      `10,000 hosts × 3 ports: ${Math.round(first.tookMs)} ms with grants, again ${Math.round(again.tookMs)} ms`,
    );
    expect(again.tookMs).toBeLessThan(5_000);
  });

  it("100,000 networks", async () => {
    const { tookMs } = await path.load({ version: 1, allow: { ips: placesOf(100_000), ports: [443] } });
    console.log(`100,000 networks: ${Math.round(tookMs)} ms with grants`);
    expect((await path.load({ version: 1, mode: "deny-all" })).tookMs).toBeLessThan(10_000);
  }, 180_000);
});
