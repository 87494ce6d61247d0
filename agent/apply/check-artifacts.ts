import { createHash } from "node:crypto";
import { rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { PROXY_CONF } from "../compile/haproxy.ts";
import { ABOUT_MAP, OWN_MAP, proxyMaps, SPENT_MAP } from "../compile/proxy-maps.ts";
import type { Release } from "../compile/release.ts";
import { shardZoneFile } from "../compile/shards.ts";
import { zoneFiles } from "../compile/zone-files.ts";
import { AgentError } from "../errors.ts";
import { readFileBytes } from "../host/files.ts";
import { run } from "../host/run.ts";
import { allDone } from "./all-done.ts";
import { makeScratch } from "./clear-scratch.ts";
import { rehearseRuleset } from "./kernel.ts";
import type { StoredRelease } from "./release-store.ts";

const CHECK_TIMEOUT_MS = 60_000;
const MAX_FILE_BYTES = 256 * 1024 * 1024;

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
  const read = (file: string): Promise<Buffer> => readFileBytes(join(release.folder, file), MAX_FILE_BYTES);
  const digests = JSON.parse((await read("manifest.json")).toString("utf8")) as FileDigests;
  return { ...release, tableDigest: await judgeFiles({ digests, read }, known) };
}

/** The same for a release that is being stored, at the same time: its bytes are what is written. */
export async function checkWhileStoring(
  { artifacts }: Release,
  storing: Promise<StoredRelease>,
  known: Verdicts,
): Promise<CheckedRelease> {
  const files = new Map(artifacts.map(({ path, bytes }) => [path, bytes]));
  const digests = Object.fromEntries(artifacts.map(({ path, digest }) => [path, digest]));
  const read = async (file: string): Promise<Buffer> => {
    const bytes = files.get(file);
    if (bytes === undefined) throw new AgentError("APPLY_CHECK_FAILED", `the compiled release has no ${file}`);
    return bytes;
  };
  const judging = judgeFiles({ digests, read }, known);
  await allDone([storing, judging]);
  return { ...(await storing), tableDigest: await judging };
}

type FileDigests = { readonly [file: string]: string };

/** The files of a release, wherever they are. */
interface ReleaseFiles {
  readonly digests: FileDigests;
  read(file: string): Promise<Buffer>;
}

async function judgeFiles(files: ReleaseFiles, known: Verdicts): Promise<string> {
  const ruleset = await files.read("policy.nft");
  const rehearsal = judge(known, `table ${meaningOf(ruleset)}`, () =>
    withScratch((scratch) => rehearseRuleset(ruleset, basename(scratch))),
  );
  await allDone([rehearsal, checkProxyFiles(files), checkZones(files, known)]);
  return await rehearsal;
}

async function withScratch<Result>(work: (scratch: string) => Promise<Result>): Promise<Result> {
  const scratch = await makeScratch();
  try {
    return await work(scratch);
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

/** What named leaves out as well: our zones hold nothing that leads to addresses, and nothing that DNSSEC would take for another. */
const ZONE_CHECKS = ["-i", "none", "-r", "ignore"] as const;

async function checkZones({ digests, read }: ReleaseFiles, known: Verdicts): Promise<void> {
  const isSharded = digests[shardZoneFile(0)] !== undefined;
  const zones = zoneFiles({ isSharded });
  for (let first = 0; first < zones.length; first += CHECKS_AT_ONCE) {
    const checks = zones.slice(first, first + CHECKS_AT_ONCE).map(({ zone, file }) =>
      judge(known, `zone ${zone} ${digests[file]}`, async () => {
        await expectSuccess(file, ["named-checkzone", "-q", ...ZONE_CHECKS, zone], { stdin: await read(file) });
        return "";
      }),
    );
    await Promise.all(checks);
  }
}

/** HAProxy reads the maps beside its configuration, and two that no release has. */
async function checkProxyFiles({ digests, read }: ReleaseFiles): Promise<void> {
  if (digests[PROXY_CONF] === undefined) return;
  const files = [PROXY_CONF, ...Object.values(proxyMaps)];
  await withScratch(async (scratch) => {
    await Promise.all(files.map(async (file) => writeFile(join(scratch, file), await read(file))));
    await Promise.all([ABOUT_MAP, OWN_MAP, SPENT_MAP].map((file) => writeFile(join(scratch, file), "")));
    await expectSuccess(PROXY_CONF, ["haproxy", "-c", "-q", "-f", PROXY_CONF], { cwd: scratch });
  });
}

async function expectSuccess(
  file: string,
  argv: readonly [string, ...string[]],
  { cwd = "/", stdin = "" }: { readonly cwd?: string; readonly stdin?: string | Buffer },
): Promise<void> {
  const result = await run(argv, { timeoutMs: CHECK_TIMEOUT_MS, cwd, stdin });
  if (result.exitCode === 0) return;
  const said = (result.stdout + result.stderr).trim().split("\n").slice(0, 5).join("; ");
  throw new AgentError("APPLY_CHECK_FAILED", `${argv[0]} refuses ${file}: ${said || "no reason given"}`);
}
