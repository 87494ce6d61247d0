import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { runChecked } from "../../agent/host/run.ts";
import { approvalPath, POLICY_NAMESPACE } from "../../agent/trust/approvals.ts";
import { digestOf, LOCK_PATH, renderLock } from "../../agent/trust/lock.ts";
import { parseLock } from "../../agent/trust/parse-lock.ts";

/**
 * Approves what a clone holds with nothing but ssh-keygen, as people would whose program looks at no policy: the next
 * serial, the given files, a signature of each key.
 */
export async function signByHand(
  clone: string,
  paths: readonly string[],
  keys: { readonly [person: string]: string },
): Promise<void> {
  const parsed = parseLock(await readFile(join(clone, LOCK_PATH)));
  if (!parsed.ok) throw new Error("the clone has no lock to go on from");
  const files: { [path: string]: string } = {};
  for (const path of paths) files[path] = digestOf(await readFile(join(clone, path)));
  const bytes = renderLock({ ...parsed.lock, serial: parsed.lock.serial + 1, files });
  const file = join(clone, LOCK_PATH);
  await writeFile(file, bytes);
  await rm(join(clone, "approvals"), { recursive: true, force: true });
  for (const [person, key] of Object.entries(keys)) {
    await runChecked(["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", POLICY_NAMESPACE, file], {
      timeoutMs: 10_000,
    });
    const target = join(clone, approvalPath(digestOf(bytes), person));
    await mkdir(dirname(target), { recursive: true });
    await rename(`${file}.sig`, target);
  }
}
