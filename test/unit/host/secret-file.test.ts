import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readSecret } from "../../../agent/host/secret-file.ts";
import { parseSettings } from "../../../agent/settings/parse-settings.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "clawgress-secrets-"));
});
afterEach(() => {
  delete process.env["CREDENTIALS_DIRECTORY"];
  rmSync(folder, { recursive: true });
});

test("a credential is read where systemd has put it", async () => {
  writeFileSync(join(folder, "clawgress_git-token"), "abc\n");
  process.env["CREDENTIALS_DIRECTORY"] = folder;
  expect(await readSecret("credential:git-token")).toBe("abc");
  await expect(readSecret("credential:other")).rejects.toMatchObject({ code: "HOST_FILE" });
});

test("without credentials the error says what to do", async () => {
  const error = await readSecret("credential:git-token").catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: "HOST_FILE", remedy: expect.stringMatching(/by its path/) });
});

test.each(["credential:", "credential:../x", "credential:a/b", "credential:.x", "relative"])(
  "%j names no secret in agent.json",
  (tokenFile) => {
    const raw = {
      version: 1,
      gateway: "a",
      interfaces: { clients: ["l"], upstream: ["w"] },
      repository: { tokenFile },
    };
    const text = JSON.stringify({ dns: { upstreams: ["192.0.2.1"] }, ...raw });
    expect(parseSettings(Buffer.from(text), "agent.json").ok).toBe(false);
  },
);
