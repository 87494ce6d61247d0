// Compiles policy-schema/*.schema.json into self-contained validators, so that a gateway never compiles a schema.
// `node packaging/generate.mjs` writes them; with `--check` it names those that are not current and exits 1.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import standalone from "ajv/dist/standalone/index.js";
import { build } from "esbuild";

/** Where the validator of each schema lives; null for formats whose parsers check more than a schema can say. */
const folders = {
  agent: "agent/settings",
  lock: null,
  policy: "agent/policy",
  root: null,
};

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const schemaFolder = join(root, "policy-schema");
const suffix = ".schema.json";

const names = readdirSync(schemaFolder)
  .filter((file) => file.endsWith(suffix))
  .map((file) => file.slice(0, -suffix.length))
  .sort();
const unplaced = names.filter((name) => !Object.hasOwn(folders, name));
if (unplaced.length > 0)
  throw new Error(`no folder is known for ${unplaced.join(", ")}: add it to the table in this file`);

const stale = [];
for (const name of names) {
  if (folders[name] === null) continue;
  const path = join(folders[name], `${name}-validator.generated.mjs`);
  const target = join(root, path);
  const text = await compileSchema(name);
  if (existsSync(target) && readFileSync(target, "utf8") === text) continue;
  if (process.argv.includes("--check")) stale.push(path);
  else writeFileSync(target, text);
}
for (const path of stale) console.error(`${path} is not current; run: npm run generate`);
process.exitCode = stale.length > 0 ? 1 : 0;

/** Returns the text of an ES module that exports `validate` and requires nothing. */
async function compileSchema(name) {
  const schema = JSON.parse(readFileSync(join(schemaFolder, `${name}${suffix}`), "utf8"));
  // verbose: an error carries the schema that refused, whose description becomes the remedy that people read.
  const ajv = new Ajv2020({
    allErrors: true,
    verbose: true,
    strict: true,
    strictRequired: false,
    allowUnionTypes: true,
    inlineRefs: false,
    code: { source: true, esm: true },
  });
  const code = standalone.default(ajv, ajv.compile(schema));
  const result = await build({
    stdin: { contents: code, resolveDir: root, sourcefile: `${name}.mjs`, loader: "js" },
    bundle: true,
    write: false,
    format: "esm",
    platform: "neutral",
    mainFields: ["main"],
    target: "node20",
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: "none",
    logLevel: "warning",
  });
  const [output] = result.outputFiles;
  const banner = `// Made from policy-schema/${name}${suffix} by packaging/generate.mjs; not written by hand.\n`;
  return `${banner}${output.text}`;
}
