import { afterAll, beforeAll, expect, test } from "vitest";
import { type Campaign, openCampaign } from "../differential/campaign.ts";
import { type Lab, startLab } from "../lab/lab.ts";

/** Random policies and flows: what `explain` says is what the gateway does. `npm run differential` plays many more. */

let lab: Lab;
let campaign: Campaign;

beforeAll(async () => {
  lab = await startLab();
  campaign = await openCampaign(lab);
});
afterAll(async () => {
  await lab?.stop();
});

test.each([1, 3])("the policy of seed %i: no flow goes another way than explain says", async (seed) => {
  const { disagreements, pairs, policy } = await campaign.round({ seed, pairs: 150 });
  expect(pairs).toBeGreaterThan(120);
  expect(disagreements, policy).toEqual([]);
});

test("an explain that says everything is denied is found out", async () => {
  const { disagreements, through } = await campaign.round({
    seed: 3,
    pairs: 40,
    predictBy: (decider) => ({
      ...decider,
      decideName: (client) => ({
        verdict: "deny",
        client,
        reason: "deny-all",
        nearMiss: null,
        nearRule: null,
        schedule: null,
      }),
      decideNameFlow: (client) => ({
        verdict: "deny",
        client,
        reason: "deny-all",
        nearMiss: null,
        nearRule: null,
        schedule: null,
      }),
      decideAddress: (client) => ({
        verdict: "deny",
        client,
        reason: "deny-all",
        nearMiss: null,
        nearRule: null,
        schedule: null,
      }),
    }),
  });
  expect(through).toBeGreaterThan(0);
  expect(disagreements.length).toBeGreaterThanOrEqual(through);
});
