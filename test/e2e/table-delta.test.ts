import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { digestPolicyTable, loadRuleset } from "../../agent/apply/kernel.ts";
import { removeBudgets } from "../../agent/compile/budgets.ts";
import { compile } from "../../agent/compile/compile.ts";
import { tableDelta } from "../../agent/compile/nft-delta.ts";
import { run, runChecked } from "../../agent/host/run.ts";
import type { Policy } from "../../agent/policy/policy.ts";
import { artifactText, policyOf, settingsWith } from "../support/compile-samples.ts";
import { policyDocument } from "../support/random-policies.ts";

/** Pairs of policies; each costs a few dozen processes. */
const PAIRS = 8;
const names = { changed: `cgdelta-${process.pid}-a`, whole: `cgdelta-${process.pid}-b` } as const;
const within = (name: string): readonly string[] => ["nsenter", `--net=/run/netns/${name}`];
const pin = "add element inet clawgress pin4 { 10.1.0.1 . 198.51.100.7 . 0x00000005 timeout 60s : 0x20000007 }\n";

beforeAll(async () => {
  for (const name of Object.values(names)) await runChecked(["ip", "netns", "add", name], { timeoutMs: 5_000 });
});
afterAll(async () => {
  for (const name of Object.values(names)) await run(["ip", "netns", "del", name], { timeoutMs: 20_000 });
});

const textOf = (policy: Policy): string => artifactText(compile({ policy, settings: settingsWith() }), "policy.nft");

/** As an apply does: the budgets that go are not part of the text. */
async function budgetsIn(name: string): Promise<readonly number[]> {
  const text = await runChecked(
    ["nsenter", `--net=/run/netns/${name}`, "nft", "-j", "list", "set", "inet", "clawgress", "budgets"],
    {
      timeoutMs: 5_000,
    },
  );
  const elements = JSON.parse(text).nftables.flatMap((entry: { set?: { elem?: unknown[] } }) => entry.set?.elem ?? []);
  return elements.map((element: { elem?: { val: number } } | number) =>
    typeof element === "number" ? element : (element.elem?.val ?? 0),
  );
}

it("the changes between two policies leave the kernel with what the whole of the second one does", async () => {
  const documents = fc.sample(policyDocument, { seed: 7, numRuns: 2 * PAIRS });
  const policies = documents.map((document) => policyOf(document));
  await loadRuleset(textOf(policies[0] as Policy) + pin, within(names.changed));
  for (let index = 1; index < policies.length; index += 1) {
    const [before, after] = [policies[index - 1] as Policy, policies[index] as Policy];
    const gone = removeBudgets(await budgetsIn(names.changed), after);
    await loadRuleset(tableDelta(textOf(before), textOf(after)) + gone, within(names.changed));
    if (index % 2 === 0) continue;
    await run([...within(names.whole), "nft", "delete", "table", "inet", "clawgress"] as never, { timeoutMs: 5_000 });
    await loadRuleset(textOf(after), within(names.whole));
    const [changed, whole] = await Promise.all(Object.values(names).map((name) => digestPolicyTable(within(name))));
    expect(changed, `pair ${index}: ${JSON.stringify(documents[index])}`).toBe(whole);
  }
  const pins = await runChecked(
    [...within(names.changed), "nft", "list", "map", "inet", "clawgress", "pin4"] as never,
    {
      timeoutMs: 5_000,
    },
  );
  expect(pins).toContain("198.51.100.7");
});

it("changes to a table that is another one are refused whole", async () => {
  const [one, other] = ["192.0.2.0/24", "203.0.113.0/24"].map((network) =>
    textOf(policyOf({ version: 1, allow: { ips: [network], ports: [443] } })),
  ) as [string, string];
  await loadRuleset(one, within(names.whole));
  const before = await digestPolicyTable(within(names.whole));
  await expect(loadRuleset(tableDelta(other, one), within(names.whole))).rejects.toThrow("No such file");
  expect(await digestPolicyTable(within(names.whole))).toBe(before);
});
