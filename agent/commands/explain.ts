import { AgentError, type Json } from "../errors.ts";
import { nowMs } from "../host/clock.ts";
import { buildDecider, type Decision } from "../policy/decide.ts";
import { parseInstant } from "../policy/expiry.ts";
import { decideTarget, findClient, parseTarget, pathTo, ruleText } from "../policy/explain-flow.ts";
import { hoursLines, noteHours } from "../policy/explain-hours.ts";
import { findForwardZone } from "../policy/forward-zones.ts";
import { limitsOf } from "../policy/limits.ts";
import type { Parsed } from "../policy/parsed.ts";
import type { Notes, Policy } from "../policy/policy.ts";
import { portText } from "../policy/ports.ts";
import { reasons } from "../policy/reasons.ts";
import { loadEnforcedPolicy, readPolicyFile } from "./load-policy.ts";
import type { Output } from "./output.ts";

export interface ExplainOptions {
  readonly from: string;
  readonly to: string;
  readonly policy?: string;
  readonly config: string;
  /** Default: now. */
  readonly at?: string;
}

/** Says whether a client may reach a target, by which rule, and if not, why and what almost matched. Returns 0 either way. */
export async function explain(options: ExplainOptions, output: Output): Promise<number> {
  const policy =
    options.policy === undefined
      ? await loadEnforcedPolicy(options.config)
      : await readPolicyFile(options.policy, "skip");
  const atS = options.at === undefined ? nowMs() / 1000 : expect(parseInstant(options.at));
  const decider = buildDecider(policy, () => atS);
  const client = expect(findClient(decider, policy, options.from));
  const target = expect(parseTarget(options.to));
  const decision = decideTarget(decider, client, target);
  const path = pathTo(client, target);
  const hours = noteHours(decision, atS);
  const zone =
    target.name === null
      ? null
      : findForwardZone(new Map((policy.forward ?? []).map((found) => [found.zone, found])), target.name);
  output.document({
    ok: true,
    ...toDocument(options, policy, decision, path),
    resolvers: [...(zone?.resolvers ?? [])],
    hours: hours === null ? null : { ...hours, hours: [...hours.hours] },
  });
  for (const line of describe(options, policy, decision, path)) output.line(line);
  for (const line of hours === null ? [] : hoursLines(hours)) output.line(line);
  if (zone !== null) output.line(`  resolved by: ${zone.resolvers.join(", ")} (zone ${zone.zone})`);
  if (client.group.mode === "audit")
    output.line("  AUDIT: what the policy denies this client is recorded and let pass");
  return 0;
}

function expect<T>(parsed: Parsed<T>): T {
  if (parsed.ok) return parsed.value;
  throw new AgentError("USAGE", parsed.message, { remedy: parsed.remedy });
}

function describe(
  options: ExplainOptions,
  policy: Policy,
  decision: Decision,
  path: "proxy" | "address",
): readonly string[] {
  const { host, group } = decision.client;
  const who = host === null ? `${options.from} (in no host entry)` : `${options.from} (host ${host.name})`;
  const rules = group.name === "*" ? "the global rules" : `the rules of ${group.name}`;
  if (decision.verdict === "deny") {
    const place = decision.nearRule?.place;
    const where = place === undefined ? "" : ` (${place.file}:${place.line})`;
    const near = decision.nearMiss === null ? [] : [`  nearest: ${decision.nearMiss}${where}`];
    return [
      `DENY  ${who} → ${options.to}`,
      `  by ${rules}: ${decision.reason}, ${reasons[decision.reason].text}`,
      ...near,
      ...describeNotes(decision.nearRule?.notes),
    ];
  }
  const { rule, wouldDeny } = decision;
  if (rule === null || wouldDeny !== null) {
    const why = wouldDeny?.reason ?? "deny-all";
    const near = wouldDeny?.nearMiss == null ? [] : [`  nearest: ${wouldDeny.nearMiss}`];
    return [
      `ALLOW, ONLY BECAUSE OF AUDIT  ${who} → ${options.to}`,
      `  by ${rules} it would be denied: ${why}, ${reasons[why].text}`,
      ...near,
      ...describeNotes(wouldDeny?.nearRule?.notes),
    ];
  }
  const label = decision.label === null ? [] : [`  label: ${decision.label}`];
  const answers = decision.answers.length === 0 ? [] : [`  may resolve to: ${decision.answers.join(", ")}`];
  const how =
    path === "proxy"
      ? ["  through the proxy: by the name that the client asks the server for, whatever address it dials"]
      : [];
  return [
    `ALLOW  ${who} → ${options.to}`,
    `  by ${rules}: ${ruleText(rule)}`,
    `  open ports: ${decision.ports.map(portText).join(", ")}`,
    ...how,
    ...limitLines(policy, decision),
    ...label,
    ...answers,
    ...describeNotes(rule.notes),
  ];
}

function limitLines(policy: Policy, decision: Decision): readonly string[] {
  const limits = limitsOf(policy, decision.client);
  if (limits === null) return [];
  const { egressKbps, place } = limits;
  const whose = decision.client.host === null ? "for this address alone" : "for all addresses of the host together";
  return [`  limit: ${egressKbps} kbit/s towards the internet, ${whose} (${place.file}:${place.line})`];
}

/** The reader of a policy lets no control or direction character pass, so that notes are safe to print. */
function describeNotes(notes: Notes | undefined): readonly string[] {
  return Object.entries(notes ?? {}).map(([key, text]) => `  ${key}: ${text}`);
}

function toDocument(
  options: ExplainOptions,
  policy: Policy,
  decision: Decision,
  path: "proxy" | "address",
): { readonly [key: string]: Json } {
  const { host, group } = decision.client;
  const common = {
    from: options.from,
    to: options.to,
    verdict: decision.verdict,
    host: host?.name ?? null,
    group: group.name,
    mode: group.mode ?? policy.mode,
    egressKbps: limitsOf(policy, decision.client)?.egressKbps ?? null,
  };
  if (decision.verdict === "deny") {
    const { reason, nearMiss, nearRule } = decision;
    const place = nearRule === null ? null : { ...nearRule.place };
    return { ...common, reason, nearMiss, nearPlace: place, notes: { ...nearRule?.notes } };
  }
  if (decision.wouldDeny !== null || decision.rule === null) {
    const { reason, nearMiss, nearRule } = decision.wouldDeny ?? { reason: null, nearMiss: null, nearRule: null };
    return { ...common, wouldDeny: reason, nearMiss, notes: { ...nearRule?.notes } };
  }
  const { file, line, column, pointer } = decision.rule.place;
  return {
    ...common,
    wouldDeny: null,
    rule: ruleText(decision.rule),
    place: { file, line, column, pointer },
    label: decision.label,
    path,
    ports: decision.ports.map(portText),
    answers: [...decision.answers],
    notes: { ...decision.rule.notes },
  };
}
