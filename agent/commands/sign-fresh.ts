import { join } from "node:path";
import { AgentError } from "../errors.ts";
import { nowMs } from "../host/clock.ts";
import { replaceFile } from "../host/files.ts";
import { signWithSshKeygen } from "../host/ssh-keygen.ts";
import { isWithin, openWorkTree } from "../host/work-tree.ts";
import { readFresh } from "../source/read-fresh.ts";
import { formatTime } from "../trust/fields.ts";
import {
  FRESH_NAMESPACE,
  FRESH_PATH,
  freshApprovalPath,
  judgeFresh,
  MAX_FRESH_BYTES,
  parseFresh,
  renderFresh,
} from "../trust/freshness.ts";
import { LOCK_PATH, MAX_LOCK_BYTES } from "../trust/lock.ts";
import { parseLock } from "../trust/parse-lock.ts";
import { judgeNow } from "./judge-locks.ts";
import { loadNewestRoot } from "./load-root.ts";
import type { Output } from "./output.ts";
import type { SignOptions } from "./sign.ts";
import { findSigningKey } from "./signing-key.ts";

const MAX_HOURS = 24 * 400;

/**
 * Vouches that the lock in a working clone is the newest, for some hours from now. Of several who have to, the first sets
 * the time and the others sign the same statement. Returns 0.
 * @throws AgentError USAGE, TRUST_LOCK_INVALID, TRUST_SIGNING_FAILED
 */
export async function signFresh(options: SignOptions & { readonly fresh: number }, output: Output): Promise<number> {
  const { repositoryFolder: folder, fresh: hours } = options;
  if (!(hours > 0 && hours <= MAX_HOURS)) {
    throw new AgentError("USAGE", `${hours} is no number of hours from 1 to ${MAX_HOURS}`, {
      remedy: "write --fresh 48",
    });
  }
  const tree = openWorkTree(folder);
  const { root } = await loadNewestRoot(tree);
  const role = root.roles.freshness;
  if (role === null) {
    throw new AgentError("USAGE", "the root of trust has no role freshness", {
      remedy: "add one with `clawgress rotate --freshness NAME`",
    });
  }
  const choice = { key: options.key ?? null, principal: options.principal ?? null };
  const key = await findSigningKey([{ root, principals: role.principals }], choice);
  const lockBytes = await tree.readFile(LOCK_PATH, MAX_LOCK_BYTES);
  const parsed = lockBytes === null ? null : parseLock(lockBytes);
  if (parsed?.ok !== true) {
    throw new AgentError("TRUST_LOCK_INVALID", `there is no sound ${LOCK_PATH} to vouch for`, {
      remedy: "run `clawgress sign`",
    });
  }
  const { repository, branch, group, serial } = parsed.lock;
  const existing = await tree.readFile(FRESH_PATH, MAX_FRESH_BYTES);
  const waiting = existing === null ? null : parseFresh(existing);
  const isWaiting =
    role.threshold > 1 &&
    waiting?.ok === true &&
    waiting.fresh.serial === serial &&
    waiting.fresh.validUntilMs > nowMs();
  const validUntilMs = Math.floor(nowMs() / 1000 + hours * 3600) * 1000;
  const bytes =
    isWaiting && existing !== null ? existing : renderFresh({ repository, branch, group, serial, validUntilMs });
  const signature = await signWithSshKeygen(key.candidate, FRESH_NAMESPACE, bytes);
  const path = freshApprovalPath(key.principal);
  for (const one of [path, FRESH_PATH]) await isWithin(folder, one);
  await replaceFile(join(folder, path), signature);
  await replaceFile(join(folder, FRESH_PATH), bytes);
  const statement = await readFresh(openWorkTree(folder), root);
  const verdict =
    statement === null ? null : judgeFresh({ root, ...statement, ...judgeNow, expected: parsed.lock, serial });
  const until = formatTime(isWaiting && waiting?.ok === true ? waiting.fresh.validUntilMs : validUntilMs);
  output.line(`Serial ${serial} is vouched for as the newest until ${until}, by ${key.principal}.`);
  if (verdict?.ok === false) output.line(`It does not count yet: ${verdict.why}`);
  output.line("Commit and push:");
  output.line(
    `  git add -A -- ${FRESH_PATH} approvals/fresh && git commit -m "freshness: serial ${serial} until ${until}" && git push`,
  );
  output.document({
    serial,
    validUntil: until,
    principal: key.principal,
    key: key.fingerprint,
    ok: verdict?.ok === true,
  });
  return 0;
}
