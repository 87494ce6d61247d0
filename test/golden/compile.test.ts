import { readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { compile } from "../../agent/compile/compile.ts";
import { liveDelta } from "../../agent/compile/live-delta.ts";
import { appliedLive } from "../../agent/compile/applied-live.ts";
import { renderBase } from "../../agent/compile/nft-base.ts";
import { renderUlogdConf } from "../../agent/compile/ulogd-conf.ts";
import { parsePolicy } from "../../agent/policy/parse-policy.ts";
import { readJsonFiles } from "../support/example-files.ts";
import { baseUsers, settingsWith } from "../support/compile-samples.ts";

const examplesFolder = new URL("../../examples/", import.meta.url);
const examples = readdirSync(examplesFolder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && readdirSync(new URL(entry.name, examplesFolder)).includes("policy.json"))
  .map((entry) => entry.name)
  .sort();

describe.each(examples)("what examples/%s compiles into", (example) => {
  const files = readJsonFiles(new URL(`${example}/`, examplesFolder));
  const parsed = parsePolicy(files.get("policy.json") ?? Buffer.of(), "policy.json", { files });
  if (!parsed.ok) throw new Error(`examples/${example} has errors`);
  const { policy } = parsed;

  it("is what a reader has reviewed", async () => {
    const release = compile({ policy, settings: settingsWith() });
    const files = release.artifacts.map(({ path, bytes }) => [path, bytes.toString("utf8")] as const);
    for (const [path, text] of [...files, ["live.nft", liveDelta([], appliedLive(policy)).now] as const]) {
      const readable = path === "gate.json" ? `${JSON.stringify(JSON.parse(text), null, 1)}\n` : text;
      await expect(readable).toMatchFileSnapshot(`compile/${example}/${path}`);
    }
  });
});

it("the configuration of ulogd is what a reader has reviewed", async () => {
  const text = renderUlogdConf({ socketPath: "/run/clawgress/gate/packets.sock" });
  await expect(text).toMatchFileSnapshot("compile/ulogd.conf");
});

it("the base tables are what a reader has reviewed", async () => {
  await expect(renderBase(settingsWith(), baseUsers)).toMatchFileSnapshot("compile/base.nft");
});
