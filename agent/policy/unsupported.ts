import type { PolicyDocument, ProxyDocument } from "./document.ts";
import { joinPointer } from "./json-pointer.ts";
import type { JsonDocument } from "./json-text.ts";
import type { Issue } from "./policy.ts";

const remedy = "remove it; a policy is never enforced without one of its parts";

/**
 * Returns one issue for each key of the format that cannot be enforced. What changes nothing is let pass:
 * `mtls.enabled: false`.
 */
export function findUnsupported(document: PolicyDocument, locate: JsonDocument["locate"]): readonly Issue[] {
  const issues: Issue[] = [];
  const report: Report = (pointer, message) => {
    issues.push({ severity: "error", code: "POLICY_UNSUPPORTED", place: locate(pointer, "key"), message, remedy });
  };

  checkProxy(document.proxy, "/proxy", report);
  for (const [name, host] of Object.entries(document.hosts ?? {})) {
    checkProxy(host.proxy, joinPointer(joinPointer("/hosts", name), "proxy"), report);
  }
  return issues;
}

type Report = (pointer: string, message: string) => void;

function checkProxy(proxy: ProxyDocument | undefined, pointer: string, report: Report): void {
  if (proxy?.mtls === undefined || proxy.mtls.enabled === false) return;
  const because = "the proxy passes TLS on unopened, so clients show their certificates themselves";
  report(joinPointer(pointer, "mtls"), `"mtls" is not supported: ${because}`);
}
