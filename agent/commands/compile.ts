import { join } from "node:path";
import { compile } from "../compile/compile.ts";
import { replaceFile } from "../host/files.ts";
import { defaultCompileSettings } from "../settings/parse-settings.ts";
import { readPolicyFile } from "./load-policy.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";

export interface CompileOptions {
  readonly policy: string;
  readonly out: string;
  readonly config?: string;
}

/** Writes what a policy compiles to into a folder. Needs no root; the same input gives the same bytes everywhere. */
export async function compileToFolder(options: CompileOptions, output: Output): Promise<number> {
  const policy = await readPolicyFile(options.policy);
  const settings = options.config === undefined ? defaultCompileSettings : await loadSettings(options.config);
  const release = compile({ policy, settings });
  for (const { path, bytes } of release.artifacts) {
    await replaceFile(join(options.out, path), bytes);
    output.line(`${join(options.out, path)}  ${bytes.length} bytes`);
  }
  output.line(`release ${release.digest}`);
  output.document({ ok: true, release: release.digest, files: release.artifacts.map(({ path }) => path) });
  return 0;
}
