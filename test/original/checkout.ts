import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { run, runChecked } from "../../agent/host/run.ts";
import { usage } from "./arguments.ts";

/** What of a policy only some versions of the original read. */
export const features = [
  "hosts",
  "egress_kbps",
  "proxy",
  "time_window",
  "domain_time_windows",
  "exfil",
  "labels",
] as const;
export type Feature = (typeof features)[number];

/** The original's two generators, and what they read. */
export interface Checkout {
  readonly namesGenerator: string;
  readonly rulesGenerator: string;
  /** Its commit, or a digest of the two files where there is no repository. */
  readonly version: string;
  readonly has: ReadonlySet<Feature>;
  readonly isRepaired: boolean;
}

/** Finds the generators of a checkout. @throws Error that says what to do, AgentError HOST_MISSING without Python */
export async function readCheckout(folder: string, isRepaired: boolean): Promise<Checkout> {
  const generator = (name: string): string => join(folder, "src", "helpers", `clawgress-${name}-apply.py`);
  const [namesGenerator, rulesGenerator] = [generator("policy"), generator("firewall")];
  const texts = await Promise.all([namesGenerator, rulesGenerator].map(readGenerator));
  await runChecked(["python3", "--version"], { timeoutMs: 10_000 });
  const version = await versionOf(folder, texts);
  return { namesGenerator, rulesGenerator, version, has: featuresOf(texts), isRepaired };
}

async function versionOf(folder: string, texts: readonly string[]): Promise<string> {
  const digest = `files ${createHash("sha256").update(texts.join("\0")).digest("hex").slice(0, 12)}`;
  // A folder inside another repository has a commit that says nothing of it.
  if (!existsSync(join(folder, ".git"))) return digest;
  const head = await run(["git", "-C", folder, "rev-parse", "--short=9", "HEAD"], { timeoutMs: 10_000 });
  return head.exitCode === 0 ? head.stdout.trim() : digest;
}

/** Returns which keys of a policy a program reads: those that stand in its text as strings. */
export function featuresOf(texts: readonly string[]): ReadonlySet<Feature> {
  return new Set(
    features.filter((key) => texts.some((text) => text.includes(`'${key}'`) || text.includes(`"${key}"`))),
  );
}

async function readGenerator(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new Error(`no checkout of the original: ${(error as Error).message}\n${usage}`);
  }
}
