import type { ActivePolicy } from "./active-policy.ts";
import { commonDetails, type Denial, type DenyAction, type DenyVerdict } from "./deny-record.ts";
import type { Refusal } from "./judge-query.ts";
import { escapedNameText, rcode, typeText } from "./wire.ts";
import type { Query } from "./wire-query.ts";

/** Returns a refused question as a denial; `query` is null where the message could not be read. */
export function queryDenial(
  refusal: Refusal,
  { client, query }: { readonly client: string; readonly query: Query | null },
  policy: ActivePolicy | null,
  verdict: DenyVerdict = "deny",
): Denial {
  const action = verdict === "would-deny" ? "pass" : actionOf(refusal.rcode);
  return {
    plane: "dns",
    verdict,
    reason: refusal.reason,
    client,
    target: query === null ? "" : `${query.name ?? query.nameBytes.toString("latin1")} ${query.type}`,
    describe: () => ({
      ...commonDetails(action, refusal.client, refusal, policy),
      name: query === null ? null : (query.name ?? escapedNameText(query.nameBytes)),
      type: query === null ? null : typeText(query.type),
    }),
  };
}

function actionOf(code: number): DenyAction {
  const name = Object.entries(rcode).find(([, value]) => value === code)?.[0] ?? "servfail";
  return name.toLowerCase() as DenyAction;
}
