import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Lab, startLab } from "../lab/lab.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";

/** Unsigned never runs, unless it is spelled out; then every channel says so. */

let lab: Lab;
let gateway: TestGateway;
const policy = { version: 1, allow: { domains: ["a.allowed.test"] } };

beforeAll(async () => {
  lab = await startLab();
  gateway = await setUpGateway(lab, { policy, config: { trust: { insecure: true } } });
});

afterAll(async () => {
  await lab?.stop();
});

test("with insecure: true an unsigned lock is enforced, and status and commit status say that nobody verified it", async () => {
  const commit = await gateway.commit(
    { version: 1, allow: { domains: ["a.allowed.test", "b.allowed.test"] } },
    {
      signers: ["alice"],
      tamper: async (clone) => {
        await lab.execChecked("internet", ["rm", "-r", join(clone, "approvals")]);
      },
    },
  );
  expect(await gateway.sync()).toMatchObject({ ok: true, outcome: "confirmed" });
  const status = await gateway.awaitStatus(commit, ["success"]);
  expect(status.description).toContain("NOT VERIFIED (insecure: true)");
  const shown = await gateway.clawgress(["status", "--config", gateway.configFile]);
  expect(shown.stdout).toContain("INSECURE");
  expect(await lab.client("agent1").connect("b.allowed.test", 443)).toMatchObject({ outcome: "connected" });
});

test("an older serial and another repository's lock are refused all the same", async () => {
  const first = (
    await lab.execChecked("internet", ["git", "-C", gateway.clone, "rev-list", "--max-parents=0", "HEAD"])
  ).trim();
  const old = await lab.execChecked("internet", ["git", "-C", gateway.clone, "show", `${first}:clawgress.lock.json`]);
  const oldPolicy = await lab.execChecked("internet", ["git", "-C", gateway.clone, "show", `${first}:policy.json`]);
  await gateway.commit(oldPolicy, {
    signers: [],
    tamper: async (clone) => {
      await writeFile(join(clone, "clawgress.lock.json"), old);
    },
  });
  expect(await gateway.sync()).toMatchObject({ ok: false, code: "TRUST_ROLLBACK" });
  await gateway.commit(oldPolicy, {
    signers: [],
    tamper: async (clone) => {
      await writeFile(
        join(clone, "clawgress.lock.json"),
        old.replace("acme-egress", "other-egress").replace('"serial": 1', '"serial": 9'),
      );
    },
  });
  expect(await gateway.sync()).toMatchObject({ ok: false, code: "TRUST_WRONG_TARGET" });
});
