import { readdirSync, readFileSync } from "node:fs";

/** Returns path → bytes of the JSON files of a folder: what its policy.json may include. */
export function readJsonFiles(folder: URL): ReadonlyMap<string, Buffer> {
  const paths = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".json"));
  return new Map(paths.map((path) => [path, readFileSync(new URL(path, folder))]));
}
