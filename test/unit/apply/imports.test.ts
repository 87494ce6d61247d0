import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

/** What a program must not need is not in it. */

const agent = fileURLToPath(new URL("../../../agent", import.meta.url));

/** Returns every file and package that a program loads at its start, types left out. */
function loadedBy(entry: string): ReadonlySet<string> {
  const seen = new Set<string>();
  const visit = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    const text = readFileSync(join(agent, path), "utf8");
    for (const [, names = "", from = ""] of text.matchAll(/^(?:import|export) (?!type )(.*?)from "(.*?)";$/gms)) {
      const isTypes = /^\{(\s*type \w+,?)+\s*\}\s*$/.test(names);
      if (isTypes) continue;
      if (from.startsWith(".")) visit(relative(agent, join(agent, dirname(path), from)));
      else seen.add(from);
    }
  };
  visit(entry);
  return seen;
}

test("the revert timer loads neither Git nor a policy parser nor trust", () => {
  const loaded = [...loadedBy("apply/revert-timer.ts")];
  expect(loaded).toContain("apply/restore.ts");
  expect(loaded.filter((path) => /^(source|trust|report|steps|commands|health)\//.test(path))).toEqual([]);
  expect(loaded.filter((path) => /^(isomorphic-git|undici|ajv|@humanwhocodes|koffi|pino)/.test(path))).toEqual([]);
  expect(loaded.filter((path) => /parse-policy|compile\/compile|json-scan|validator/.test(path))).toEqual([]);
});

test("boot loads neither Git nor a policy parser nor anything that speaks to a forge", () => {
  const loaded = [...loadedBy("commands/boot.ts")];
  expect(loaded).toContain("apply/start-enforcing.ts");
  expect(loaded.filter((path) => /^(source|report|steps)\//.test(path))).toEqual([]);
  expect(loaded.filter((path) => /^(isomorphic-git|undici)/.test(path))).toEqual([]);
  expect(loaded.filter((path) => /parse-policy|host\/(http|git)/.test(path))).toEqual([]);
});
