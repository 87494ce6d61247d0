import { existsSync, readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { formatIssue } from "../../agent/policy/issue-log.ts";
import { parsePolicy } from "../../agent/policy/parse-policy.ts";
import { readJsonFiles } from "../support/example-files.ts";

/** Each folder here and under examples/ is a case: policy.json → issues.txt, and normal.json when it is accepted. */
const cases = ["policy", "../../examples"].flatMap((folder) => {
  const url = new URL(`${folder}/`, import.meta.url);
  const inputs = readdirSync(url).map((name) => ({ name, input: new URL(`${name}/policy.json`, url) }));
  return inputs.filter(({ input }) => existsSync(input));
});

test.each(cases)("$name", async ({ name, input }) => {
  const files = readJsonFiles(new URL("./", input));
  const result = parsePolicy(readFileSync(input), "policy.json", { files });
  const issues = (result.ok ? result.warnings : result.issues).map((issue) => `${formatIssue(issue)}\n`).join("");
  const folder = `policy/${name}`;
  await expect(issues).toMatchFileSnapshot(`${folder}/issues.txt`);
  if (result.ok) await expect(`${JSON.stringify(result.policy, null, 2)}\n`).toMatchFileSnapshot(`${folder}/normal.json`);
});
