import { compile } from "../compile/compile.ts";
import { AgentError, type Code, codes } from "../errors.ts";
import { nowMs } from "../host/clock.ts";
import { openWorkTree } from "../host/work-tree.ts";
import { formatIssue } from "../policy/issue-log.ts";
import { parsePolicy } from "../policy/parse-policy.ts";
import { defaultCompileSettings } from "../settings/parse-settings.ts";
import { MAX_POLICY_BYTES, readPolicyFiles } from "../source/read-policy-files.ts";
import { loadNewestRoot } from "./load-root.ts";
import type { Output } from "./output.ts";
import { POLICY_PATH, planLocks } from "./plan-lock.ts";
import { verify } from "./verify.ts";

export interface CheckOptions {
  readonly folder: string;
  /** True fails when approvals are missing; without it they are only told, since they come last in a review. */
  readonly approved?: boolean;
}

interface Finding {
  readonly code: Code | null;
  readonly text: string;
}

/**
 * Judges a checkout of the policy repository as a gateway would, before the merge: the policy with every issue, whether
 * it compiles, and whether the lock is the one that this content needs next. Returns 0 or the status of the first error.
 */
export async function checkRepository(options: CheckOptions, output: Output): Promise<number> {
  const findings = [...(await checkPolicy(options.folder)), ...(await checkLock(options.folder))];
  for (const { code, text } of findings) output.line(code === null ? text : `${code}  ${text}`);
  const [first] = findings.flatMap(({ code }) => (code === null ? [] : [code]));
  const approvals = { repositoryFolder: options.folder };
  const quiet: Output = { ...output, document: () => {} };
  const approved = await verify(approvals, quiet);
  const exit = first !== undefined ? codes[first].exit : options.approved === true ? approved : 0;
  output.line(exit === 0 ? "OK" : "not OK");
  output.document({ ok: exit === 0, approved: approved === 0, findings: findings.map((finding) => ({ ...finding })) });
  return exit;
}

async function checkPolicy(folder: string): Promise<readonly Finding[]> {
  const files = await readPolicyFiles(openWorkTree(folder), [POLICY_PATH]);
  const bytes = files.get(POLICY_PATH);
  if (bytes === undefined) return [{ code: "POLICY_INVALID", text: `there is no ${POLICY_PATH} in ${folder}` }];
  const result = parsePolicy(bytes, POLICY_PATH, { maxBytes: MAX_POLICY_BYTES, files, nowS: nowMs() / 1000 });
  const issues = result.ok ? result.warnings : result.issues;
  const findings = issues.map((issue) => ({
    code: issue.severity === "error" ? issue.code : null,
    text: issue.severity === "error" ? formatIssue(issue) : `warning: ${formatIssue(issue)}`,
  }));
  if (!result.ok) return findings;
  return [...findings, ...collectError(() => compile({ policy: result.policy, settings: defaultCompileSettings }))];
}

/** The lock must be what `sign` would write here: these files, and the last serial of the branch + 1 (or the branch's own). */
async function checkLock(folder: string): Promise<readonly Finding[]> {
  try {
    const tree = openWorkTree(folder);
    const options = { repositoryFolder: folder, serial: null, files: [], branch: null, group: null };
    const plans = await planLocks(options, (await loadNewestRoot(tree)).root, tree);
    return plans
      .filter(({ kept }) => !kept)
      .map(({ path, lock: { serial } }) => ({
        code: "TRUST_LOCK_MISMATCH",
        text: `${path} is not the lock for this content: serial ${serial} is next; run \`clawgress sign\``,
      }));
  } catch (error) {
    if (error instanceof AgentError) return [{ code: error.code, text: error.message }];
    throw error;
  }
}

function collectError(work: () => unknown): readonly Finding[] {
  try {
    work();
    return [];
  } catch (error) {
    if (error instanceof AgentError) return [{ code: error.code, text: error.message }];
    throw error;
  }
}
