import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { AgentError, codes } from "../errors.ts";
import { nowMs } from "../host/clock.ts";
import { readFileIfAny, replaceFile } from "../host/files.ts";
import { assertOwnState, readPointers, replacePointers } from "../host/pointer-store.ts";
import { readRevokedFile } from "../host/revoked-file.ts";
import { lockInstance } from "../host/single-instance.ts";
import { listEvidence, readEvidence, readRememberedRoot } from "../host/trust-store.ts";
import { type Paths, pathsOf } from "../settings/paths.ts";
import type { Settings } from "../settings/settings.ts";
import { formatTime } from "../trust/fields.ts";
import { parseLock } from "../trust/parse-lock.ts";
import { emptyPointers, type VerifiedPointer } from "../trust/pointers.ts";
import {
  countRecovery,
  MAX_RECOVERY_BYTES,
  parseRecovery,
  type RecoveryRequest,
  recoveryApproval,
  renderRecovery,
} from "../trust/recovery.ts";
import { rootPath } from "../trust/root.ts";
import { openRoot, type RootInForce } from "../trust/root-chain.ts";
import { MAX_SIGNATURE_BYTES } from "../trust/sshsig.ts";
import { loadRoot } from "./load-root.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";

export interface RecoverOptions {
  readonly config: string;
  /** The serial above which locks are taken again; default: by what is left on the disk. */
  readonly above?: number;
  /** `payments=7`: the same for the lock of a rule. */
  readonly partAbove?: readonly string[];
}

/**
 * Gives a gateway whose state is damaged, lost or another gateway's a sound one again, when the threshold of the role root
 * has approved from which serial on. The first call writes the request that they sign; the next one, once their files are
 * beside it, writes the pointers. What is enforced stays as it is. Returns 0 when done, else the status of STATE_CORRUPT.
 * @throws AgentError USAGE when nothing is wrong, SETTINGS_INVALID, STATE_LOCKED, TRUST_ROOT_INVALID, TRUST_UNSIGNED
 */
export async function recover(options: RecoverOptions, output: Output): Promise<number> {
  const settings = await loadSettings(options.config);
  const paths = pathsOf(settings);
  const lock = await lockInstance(paths.agentLock);
  try {
    const why = await findDamage(settings, paths);
    if (why === null) {
      throw new AgentError("USAGE", `nothing is wrong with ${paths.pointers}`, {
        remedy: "start the agent; `clawgress status` says what it verified and enforces",
      });
    }
    output.line(why);
    const root = await findRoot(settings, paths);
    const file = paths.recovery;
    const waiting = await readFileIfAny(file, MAX_RECOVERY_BYTES);
    const parsed = waiting === null ? null : parseRecovery(waiting);
    const isAsked =
      parsed?.ok === true && parsed.request.gateway === settings.gateway && parsed.request.root === root.root.root;
    if (waiting === null || !isAsked || options.above !== undefined || options.partAbove !== undefined) {
      return await ask(options, { settings, paths, root, file }, output);
    }
    return await finish({ settings, paths, root, file }, waiting, parsed.request, output);
  } finally {
    await lock.release();
  }
}

interface Place {
  readonly settings: Settings;
  readonly paths: Paths;
  readonly root: RootInForce;
  readonly file: string;
}

async function findDamage(settings: Settings, { pointers }: Paths): Promise<string | null> {
  try {
    await readPointers(pointers);
    await assertOwnState(pointers, { gateway: settings.gateway, repository: settings.repository.name });
    return null;
  } catch (error) {
    if (error instanceof AgentError && error.code === "STATE_CORRUPT") return error.message;
    throw error;
  }
}

/** The newer of the installed root and the one that was followed: an older one would let in who was removed. */
async function findRoot(settings: Settings, { trust }: Paths): Promise<RootInForce> {
  const installed = await loadRoot(settings.trust.root);
  const bytes = await readRememberedRoot(trust);
  const remembered = bytes === null ? null : openRoot(bytes, "root.json");
  const isNewer =
    remembered !== null &&
    "root" in remembered &&
    remembered.root.root > installed.root.root &&
    remembered.root.repository === installed.root.repository;
  return isNewer ? remembered : installed;
}

/** Writes what has to be signed, with the highest serials of which there is a trace. */
async function ask(options: RecoverOptions, { settings, paths, root, file }: Place, output: Output): Promise<number> {
  const traces = await findTraces(paths);
  const named = new Map((options.partAbove ?? []).map(readPartOption));
  const rules = root.root.rules.filter(({ lock }) => lock).map(({ name }) => name);
  const seen = traces.get("");
  const above = options.above ?? (seen === undefined ? null : seen - 1);
  if (above === null || !Number.isSafeInteger(above) || above < 0) {
    throw new AgentError("USAGE", "nothing on this disk says which serial was verified last", {
      remedy: "find out which serial the team approved last, and give the one before it with --above",
    });
  }
  const parts = rules.map((name) => [name, named.get(name) ?? (traces.get(name) ?? 1) - 1] as const);
  const request: RecoveryRequest = {
    ...{ gateway: settings.gateway, repository: settings.repository.name, root: root.root.root, above },
    ...{ parts: Object.fromEntries(parts), nonce: randomBytes(32).toString("hex") },
  };
  await replaceFile(file, renderRecovery(request));
  const { principals, threshold } = root.root.roles.root;
  output.line(`wrote ${file}: it asks to take locks with a serial above ${above}.`);
  for (const [name, serial] of parts) output.line(`  of ${name}: above ${serial}`);
  output.line(`${threshold} of ${principals.join(", ")} have to approve it. Each runs, in a clone of the repository:`);
  output.line("  clawgress sign --recovery recover.json");
  output.line(`Put their files beside it (${recoveryApproval(file, "NAME")}) and run \`clawgress recover\` again.`);
  output.document({ ok: false, state: "asked", file, request: { ...request, parts: { ...request.parts } } });
  return codes.STATE_CORRUPT.exit;
}

/** Returns the highest serial of which there is a trace, by the name of the rule; the common lock's under an empty one. */
async function findTraces({ pointers, trust }: Paths): Promise<ReadonlyMap<string, number>> {
  const traces = new Map<string, number>();
  const note = (name: string, serial: number): void => void traces.set(name, Math.max(serial, traces.get(name) ?? 0));
  for (const digest of await listEvidence(trust)) {
    const evidence = await readEvidence(trust, digest);
    const parsed = evidence === null ? null : parseLock(evidence.lockBytes);
    if (parsed?.ok === true) note(parsed.lock.part ?? "", parsed.lock.serial);
  }
  const left = await readPointers(pointers).catch(() => null);
  if (left !== null && left.confirmed.serial > 0) note("", left.confirmed.serial);
  return traces;
}

function readPartOption(option: string): readonly [string, number] {
  const [, name, serial] = /^([^=]+)=([0-9]+)$/.exec(option) ?? [];
  if (name !== undefined && serial !== undefined) return [name, Number(serial)];
  throw new AgentError("USAGE", `${option} is not of the form name=serial`);
}

async function finish(
  { settings, paths, root, file }: Place,
  bytes: Buffer,
  request: RecoveryRequest,
  output: Output,
): Promise<number> {
  const signatures = new Map<string, Buffer>();
  for (const name of root.root.roles.root.principals) {
    const signature = await readFileIfAny(recoveryApproval(file, name), MAX_SIGNATURE_BYTES);
    if (signature !== null) signatures.set(name, signature);
  }
  const revoked = await readRevokedFile(settings.trust.revokedFile);
  const count = countRecovery(root.root, bytes, signatures, { revoked, seenAtMs: () => nowMs() });
  if (count.missing > 0) {
    const why = count.rejected.map((one) => `; ${one.file} does not count: ${one.why}`).join("");
    const { principals, threshold } = root.root.roles.root;
    const others = principals.filter((name) => !count.counted.includes(name));
    throw new AgentError(
      "TRUST_UNSIGNED",
      `${file} is approved by ${count.counted.join(", ") || "nobody"}; ${count.missing} of ${threshold} approvals are missing${why}`,
      {
        remedy: `let ${count.missing} of ${others.join(", ")} run \`clawgress sign --recovery\` on it, and put their files beside it`,
      },
    );
  }
  const floors = Object.entries(request.parts).map(([name, serial]) => [name, { serial, lockDigest: null }] as const);
  const verified: VerifiedPointer = {
    ...emptyPointers.verified,
    ...{ root: root.root.root, rootDigest: root.digest, serial: request.above, parts: Object.fromEntries(floors) },
    at: formatTime(nowMs()),
  };
  await replacePointers(paths.pointers, verified, { gateway: settings.gateway, repository: settings.repository.name });
  await rm(file, { force: true });
  for (const name of signatures.keys()) await rm(recoveryApproval(file, name), { force: true });
  output.line(
    `Approved by ${count.counted.join(", ")} (${rootPath(root.root.root)}): serials above ${request.above} are taken.`,
  );
  output.line("Start the agent, or run `clawgress sync`.");
  output.document({ ok: true, state: "recovered", approvedBy: [...count.counted], above: request.above });
  return 0;
}
