import { copyFile, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { PROXY_CONF } from "../compile/haproxy.ts";
import { ABOUT_MAP, OWN_MAP, SPENT_MAP } from "../compile/haproxy-frontends.ts";
import { proxyMaps } from "../compile/proxy-maps.ts";
import { ALLOW_ZONE, BLOCK_ZONE, DENY_ZONE } from "../compile/release.ts";
import { AgentError } from "../errors.ts";
import { readFileIfAny } from "../host/files.ts";
import { run } from "../host/run.ts";
import { makeScratch } from "./clear-scratch.ts";
import { rehearseRuleset } from "./kernel.ts";
import type { StoredRelease } from "./release-store.ts";

const CHECK_TIMEOUT_MS = 60_000;
const MAX_CONF_BYTES = 1024 * 1024;

/** What the checks found out: the digest that the policy table must read back as. */
export interface CheckedRelease extends StoredRelease {
  readonly tableDigest: string;
}

/**
 * Step 1, check: lets named-checkzone, haproxy and the kernel itself judge a stored release, all at once, without
 * touching anything that is in force. Returns the release with the digest that its ruleset reads back as.
 * The same artifacts give the same verdict, so a release in `known` (its digest → the table's) is not judged again.
 * @throws AgentError APPLY_CHECK_FAILED naming the artifact.
 */
export async function checkArtifacts(release: StoredRelease, known: Map<string, string>): Promise<CheckedRelease> {
  const knownDigest = known.get(release.digest);
  if (knownDigest !== undefined) return { ...release, tableDigest: knownDigest };
  const ruleset = await readFile(join(release.folder, "policy.nft"));
  const scratch = await makeScratch();
  try {
    const [tableDigest] = await Promise.all([
      rehearseRuleset(ruleset, basename(scratch)),
      expectSuccess(["named-checkzone", "-q", BLOCK_ZONE, join(release.folder, "block.zone")]),
      checkProxyFiles(release, scratch),
      expectSuccess(["named-checkzone", "-q", ALLOW_ZONE, join(release.folder, "allow.zone")]),
      expectSuccess(["named-checkzone", "-q", DENY_ZONE, join(release.folder, "deny.zone")]),
    ]);
    known.set(release.digest, tableDigest);
    return { ...release, tableDigest };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** HAProxy reads the maps beside its configuration, and two that no release has. */
async function checkProxyFiles(release: StoredRelease, scratch: string): Promise<void> {
  if ((await readFileIfAny(join(release.folder, PROXY_CONF), MAX_CONF_BYTES)) === null) return;
  const files = [PROXY_CONF, ...Object.values(proxyMaps)];
  await Promise.all(files.map((file) => copyFile(join(release.folder, file), join(scratch, file))));
  await Promise.all([ABOUT_MAP, OWN_MAP, SPENT_MAP].map((file) => writeFile(join(scratch, file), "")));
  await expectSuccess(["haproxy", "-c", "-q", "-f", PROXY_CONF], scratch);
}

async function expectSuccess(argv: readonly [string, ...string[]], cwd = "/"): Promise<void> {
  const result = await run(argv, { timeoutMs: CHECK_TIMEOUT_MS, cwd });
  if (result.exitCode === 0) return;
  const said = (result.stdout + result.stderr).trim().split("\n").slice(0, 5).join("; ");
  throw new AgentError("APPLY_CHECK_FAILED", `${argv[0]} refuses ${argv.at(-1)}: ${said || "no reason given"}`);
}
