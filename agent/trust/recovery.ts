import { parseJsonText } from "../policy/json-text.ts";
import { type Count, countApprovals, type Judge } from "./approvals.ts";
import { readFields } from "./fields.ts";
import { nameRule, principalRule, sha256Rule } from "./names.ts";
import { MAX_RULES, type Root } from "./root.ts";

/**
 * What a gateway whose pointers are lost asks the people of the role root for: the serials above which it may take locks
 * again. It is for one gateway and one loss, by the word in it that the gateway has made up.
 */
export interface RecoveryRequest {
  readonly gateway: string;
  readonly repository: string;
  /** Number of the root by which it will be judged. */
  readonly root: number;
  /** The common lock has to have a higher serial than this. */
  readonly above: number;
  /** The same for the locks of rules that have one of their own. */
  readonly parts: { readonly [rule: string]: number };
  /** 64 hex digits. */
  readonly nonce: string;
}

/** What it is signed for: `ssh-keygen -Y sign -n clawgress-recovery@v1`. */
export const RECOVERY_NAMESPACE = "clawgress-recovery@v1";
export const MAX_RECOVERY_BYTES = 32 * 1024;

/** Returns the one spelling of a request. */
export function renderRecovery({ gateway, repository, root, above, parts, nonce }: RecoveryRequest): Buffer {
  return Buffer.from(`${JSON.stringify({ version: 1, gateway, repository, root, above, parts, nonce }, null, 2)}\n`);
}

/** Returns the request in the bytes, or why there is none. */
export function parseRecovery(
  bytes: Buffer,
): { readonly ok: true; readonly request: RecoveryRequest } | { readonly ok: false; readonly why: string } {
  const document = parseJsonText(bytes, { file: "recover.json", maxBytes: MAX_RECOVERY_BYTES, maxDepth: 2 });
  if (!document.ok) return { ok: false, why: document.issues[0]?.message ?? "it is malformed" };
  const fields = readFields(document);
  const required = ["version", "gateway", "repository", "root", "above", "parts", "nonce"];
  const object = fields.object(document.value, "", { required });
  const floors = object?.["parts"];
  const entries = Object.entries(typeof floors === "object" && floors !== null && !Array.isArray(floors) ? floors : {});
  if (entries.length > MAX_RULES) return { ok: false, why: "it has too many parts" };
  const parts = entries.map(([name, serial]) => [
    fields.text(name, "/parts", principalRule) ?? "",
    fields.integer(serial, `/parts/${name}`, 0, Number.MAX_SAFE_INTEGER) ?? 0,
  ]);
  fields.integer(object?.["version"], "/version", 1, 1);
  const request: RecoveryRequest = {
    gateway: fields.text(object?.["gateway"], "/gateway", nameRule) ?? "",
    repository: fields.text(object?.["repository"], "/repository", nameRule) ?? "",
    root: fields.integer(object?.["root"], "/root", 1, 999_999_999) ?? 0,
    above: fields.integer(object?.["above"], "/above", 0, Number.MAX_SAFE_INTEGER) ?? 0,
    parts: Object.fromEntries(parts),
    nonce: fields.text(object?.["nonce"], "/nonce", sha256Rule) ?? "",
  };
  const [issue] = fields.issues;
  return issue === undefined ? { ok: true, request } : { ok: false, why: issue.message };
}

/** Returns the name of the file of a principal's approval of a request, beside it. */
export function recoveryApproval(file: string, principal: string): string {
  return `${file}.${principal}.sig`;
}

/** Returns how far the approval of a request by the role root has come. */
export function countRecovery(root: Root, bytes: Buffer, signatures: ReadonlyMap<string, Buffer>, judge: Judge): Count {
  return countApprovals({
    ...{ root, role: root.roles.root, message: bytes, namespace: RECOVERY_NAMESPACE, signatures, ...judge },
    fileOf: (principal) => recoveryApproval("recover.json", principal),
  });
}
