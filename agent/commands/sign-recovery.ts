import { AgentError } from "../errors.ts";
import { readFileBytes, replaceFile } from "../host/files.ts";
import { signWithSshKeygen } from "../host/ssh-keygen.ts";
import { openWorkTree } from "../host/work-tree.ts";
import {
  countRecovery,
  MAX_RECOVERY_BYTES,
  parseRecovery,
  RECOVERY_NAMESPACE,
  recoveryApproval,
} from "../trust/recovery.ts";
import { rootPath } from "../trust/root.ts";
import { judgeNow } from "./judge-locks.ts";
import { loadRootOf } from "./load-root.ts";
import type { Output } from "./output.ts";
import type { SignOptions } from "./sign.ts";
import { findSigningKey } from "./signing-key.ts";

/**
 * Approves that a gateway which lost its state goes on from some serial: shows the request, and writes the signature
 * beside it. Returns 0. @throws AgentError USAGE, TRUST_ROOT_INVALID, TRUST_SIGNING_FAILED
 */
export async function signRecovery(
  options: SignOptions & { readonly recovery: string },
  output: Output,
): Promise<number> {
  const { recovery: file } = options;
  const bytes = await readFileBytes(file, MAX_RECOVERY_BYTES);
  const parsed = parseRecovery(bytes);
  if (!parsed.ok) {
    throw new AgentError("USAGE", `${file} is no request to recover: ${parsed.why}`, {
      remedy: "name the recover.json that `clawgress recover` wrote on the gateway",
    });
  }
  const { request } = parsed;
  const { root } = await loadRootOf(openWorkTree(options.repositoryFolder), request.root);
  if (root.repository !== request.repository) {
    throw new AgentError(
      "USAGE",
      `${file} is for the repository ${request.repository}, this clone is ${root.repository}`,
    );
  }
  const choice = { key: options.key ?? null, principal: options.principal ?? null };
  const key = await findSigningKey([{ root, principals: root.roles.root.principals }], choice);
  output.line(
    `The gateway ${request.gateway} lost what it had verified. By ${rootPath(request.root)} it may go on with`,
  );
  output.line(`  serials above ${request.above}`);
  for (const [name, serial] of Object.entries(request.parts)) output.line(`  of ${name}: above ${serial}`);
  output.line(
    "Every state that was approved since then could be shown to it as the newest: is that serial the last one?",
  );
  const signature = await signWithSshKeygen(key.candidate, RECOVERY_NAMESPACE, bytes);
  const count = countRecovery(root, bytes, new Map([[key.principal, signature]]), judgeNow);
  if (count.counted.length === 0) {
    throw new AgentError("TRUST_SIGNING_FAILED", `gateways would not count the signature: ${count.rejected[0]?.why}`, {
      remedy: "use another key of the root",
    });
  }
  const path = recoveryApproval(file, key.principal);
  await replaceFile(path, signature);
  output.line(`Signed as ${key.principal}: ${path}. Put it beside recover.json on the gateway.`);
  output.document({ file: path, principal: key.principal, key: key.fingerprint, above: request.above });
  return 0;
}
