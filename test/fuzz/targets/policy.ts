import { readFileSync } from "node:fs";
import { parsePolicy } from "../../../agent/policy/parse-policy.ts";
import type { FuzzTarget } from "../target.ts";

const example = (name: string): Buffer =>
  readFileSync(new URL(`../../../examples/${name}/policy.json`, import.meta.url));

/** Policies: valid, or issues each with a place within the text and a remedy. */
export const policy: FuzzTarget = {
  name: "policy",
  seedCorpus: () => [
    example("minimal"),
    example("seed"),
    example("team"),
    Buffer.from('{"version":1,"mode":"deny-all"}'),
  ],
  run: (bytes) => {
    const result = parsePolicy(bytes, "policy.json", { maxBytes: 1024 * 1024 });
    if (result.ok) return "valid";
    const [first] = result.issues;
    if (first === undefined) throw new Error("refused without a reason");
    for (const issue of result.issues) {
      const { line, column } = issue.place;
      if (line < 1 || column < 1 || issue.message === "") throw new Error("an issue without a place or a message");
    }
    return first.message;
  },
};
