import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { passFence, takeFence } from "../../agent/compile/fence.ts";
import { renderBase } from "../../agent/compile/nft-base.ts";
import { type RunResult, run, runChecked } from "../../agent/host/run.ts";
import { baseUsers, settingsWith } from "../support/compile-samples.ts";

/** What the kernel makes of the fence. */

const namespace = `cgfence-${randomBytes(3).toString("hex")}`;
const nft = async (text: string): Promise<RunResult> =>
  await run(["nsenter", `--net=/run/netns/${namespace}`, "nft", "-f", "-"], { timeoutMs: 10_000, stdin: text });
const change = (name: string): string => `add table inet ${name}\n`;
const tables = async (): Promise<string> =>
  await runChecked(["nsenter", `--net=/run/netns/${namespace}`, "nft", "list", "tables"], { timeoutMs: 10_000 });

beforeAll(async () => {
  await runChecked(["ip", "netns", "add", namespace], { timeoutMs: 10_000 });
  expect(await nft(renderBase(settingsWith(), baseUsers))).toMatchObject({ exitCode: 0 });
});

afterAll(async () => {
  await run(["ip", "netns", "del", namespace], { timeoutMs: 10_000 });
});

test("who took the fence last changes rules, as often as they like", async () => {
  expect(await nft(takeFence(1))).toMatchObject({ exitCode: 0 });
  expect(await nft(passFence(1) + change("first"))).toMatchObject({ exitCode: 0 });
  expect(await nft(passFence(1) + change("second"))).toMatchObject({ exitCode: 0 });
});

test("who was overtaken changes nothing at all", async () => {
  await nft(takeFence(0xffff_ffff));
  expect((await nft(passFence(1) + change("late"))).exitCode).not.toBe(0);
  expect(await tables()).not.toContain("late");
  expect(await nft(passFence(0xffff_ffff) + change("newest"))).toMatchObject({ exitCode: 0 });
  expect(await tables()).toContain("newest");
});

test("loading the base table again leaves the fence to who has it", async () => {
  await nft(takeFence(7));
  expect(await nft(renderBase(settingsWith(), baseUsers))).toMatchObject({ exitCode: 0 });
  expect(await nft(passFence(7) + change("still"))).toMatchObject({ exitCode: 0 });
});
