// Compiles policy-schema/*.schema.json into self-contained validators, so that a gateway never compiles a schema.
// `node packaging/generate.mjs` writes them; with `--check` it names those that are not current and exits 1.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import standalone from "ajv/dist/standalone/index.js";
import { build } from "esbuild";

/** Where the validator of a schema lives. Lock and root are read by code of their own; a contract test compares it. */
const folders = {
  agent: "agent/settings",
  policy: "agent/policy",
};

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const schemaFolder = join(root, "policy-schema");
const suffix = ".schema.json";

const errorBounds = `
class Overflow extends Error {
  constructor(errors) { super("too many errors"); this.errors = errors; }
}
function addError(errors, error) {
  errors.push(error);
  if (errors.length >= 1000) throw new Overflow(errors);
  return errors;
}
function joinErrors(errors, more) {
  for (const error of more) addError(errors, error);
  return errors;
}
function bounded(run) {
  const validate = (value) => {
    try {
      const isValid = run(value);
      validate.errors = run.errors;
      return isValid;
    } catch (error) {
      if (!(error instanceof Overflow)) throw error;
      validate.errors = error.errors;
      return false;
    }
  };
  return validate;
}`;

const stale = [];
for (const [name, folder] of Object.entries(folders)) {
  const path = join(folder, `${name}-validator.generated.mjs`);
  const target = join(root, path);
  const text = await compileSchema(name);
  if (existsSync(target) && readFileSync(target, "utf8") === text) continue;
  if (process.argv.includes("--check")) stale.push(path);
  else writeFileSync(target, text);
}
for (const path of stale) console.error(`${path} is not current; run: npm run generate`);
process.exitCode = stale.length > 0 ? 1 : 0;

/**
 * Replaces how the compiled code collects errors. As generated it copies all errors at each reference, which is
 * quadratic, and keeps each one, which fills the memory of a gateway that reads a hostile file; so they are appended
 * in place, and the validation ends with the 1000th.
 */
function boundErrors(code, name) {
  const bounded = code
    .replaceAll(/vErrors\.push\((\w+)\)/g, "addError(vErrors, $1)")
    .replaceAll(/vErrors\.concat\((\w+)\.errors\)/g, "joinErrors(vErrors, $1.errors)")
    .replace(/export const validate = (\w+);export default \w+;/, "export const validate = bounded($1);");
  const isComplete = !/vErrors\.(?:push|concat)/.test(bounded) && bounded.includes("bounded(");
  if (!isComplete) throw new Error(`the code of ${name}${suffix} has an unknown form: adapt boundErrors`);
  return `${errorBounds}\n${bounded}`;
}

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
  const code = boundErrors(standalone.default(ajv, ajv.compile(schema)), name);
  const result = await build({
    stdin: { contents: code, resolveDir: root, sourcefile: `${name}.mjs`, loader: "js" },
    bundle: true,
    write: false,
    format: "esm",
    platform: "neutral",
    mainFields: ["main"],
    target: "node20",
    // Paths of modules stand in the text: the same ones where node_modules is a link.
    preserveSymlinks: true,
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: "none",
    logLevel: "warning",
  });
  const [output] = result.outputFiles;
  const banner = `// Made from policy-schema/${name}${suffix} by packaging/generate.mjs; not written by hand.\n`;
  return `${banner}${output.text}`;
}
