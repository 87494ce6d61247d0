import { createHash } from "node:crypto";
import { copyFile, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { PROXY_CONF } from "../compile/haproxy.ts";
import { ABOUT_MAP, OWN_MAP, proxyMaps, SPENT_MAP } from "../compile/proxy-maps.ts";
import { shardZoneFile } from "../compile/shards.ts";
import { zoneFiles } from "../compile/zone-files.ts";
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
 * The same bytes give the same verdict, so what is in `known` already is not judged again.
 * @throws AgentError APPLY_CHECK_FAILED naming the artifact.
 */
export async function checkArtifacts(release: StoredRelease, known: Verdicts): Promise<CheckedRelease> {
  const [ruleset, manifest] = await Promise.all([
    readFile(join(release.folder, "policy.nft")),
    readFile(join(release.folder, "manifest.json"), "utf8"),
  ]);
  const digests = JSON.parse(manifest) as { readonly [file: string]: string };
  const scratch = await makeScratch();
  try {
    const [tableDigest] = await Promise.all([
      judge(known, `table ${meaningOf(ruleset)}`, () => rehearseRuleset(ruleset, basename(scratch))),
      checkProxyFiles(release, scratch),
      checkZones(release, digests, known),
    ]);
    return { ...release, tableDigest };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** What was judged, by its content, and what came of it; what was refused is not in it. */
export type Verdicts = Map<string, string>;

const MAX_VERDICTS = 1000;
const CHECKS_AT_ONCE = 4;

async function judge(known: Verdicts, key: string, work: () => Promise<string>): Promise<string> {
  const verdict = known.get(key) ?? (await work());
  known.delete(key);
  known.set(key, verdict);
  for (const oldest of known.keys()) {
    if (known.size <= MAX_VERDICTS) break;
    known.delete(oldest);
  }
  return verdict;
}

/** A comment says which line of the policy a rule comes from: that moves, and means nothing to the kernel. */
function meaningOf(ruleset: Buffer): string {
  const text = ruleset.toString("latin1").replace(/ # [^\n"]*$/gm, "");
  return createHash("sha256").update(text, "latin1").digest("hex");
}

async function checkZones(
  { folder }: StoredRelease,
  digests: { readonly [file: string]: string },
  known: Verdicts,
): Promise<void> {
  const isSharded = digests[shardZoneFile(0)] !== undefined;
  const zones = zoneFiles({ isSharded });
  for (let first = 0; first < zones.length; first += CHECKS_AT_ONCE) {
    const checks = zones.slice(first, first + CHECKS_AT_ONCE).map(({ zone, file }) =>
      judge(known, `zone ${zone} ${digests[file]}`, async () => {
        await expectSuccess(["named-checkzone", "-q", zone, join(folder, file)]);
        return "";
      }),
    );
    await Promise.all(checks);
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
