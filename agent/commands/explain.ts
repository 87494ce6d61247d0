import { AgentError, type Json } from "../errors.ts";
import { createGateControl } from "../gate/control-client.ts";
import { nowMs } from "../host/clock.ts";
import { periodEndMs } from "../policy/cap-period.ts";
import { bytesText, type CapState, capStateText } from "../policy/cap-text.ts";
import { findCap } from "../policy/caps.ts";
import { buildDecider, type Client, type Decision } from "../policy/decide.ts";
import { parseInstant } from "../policy/expiry.ts";
import { decideTarget, findClient, parseTarget, pathTo, ruleText } from "../policy/explain-flow.ts";
import { hoursLines, noteHours } from "../policy/explain-hours.ts";
import { findForwardZone } from "../policy/forward-zones.ts";
import { limitsOf } from "../policy/limits.ts";
import type { Parsed } from "../policy/parsed.ts";
import { patternText } from "../policy/pattern-text.ts";
import type { ByteCap, Notes, Policy } from "../policy/policy.ts";
import { portText } from "../policy/ports.ts";
import { reasons } from "../policy/reasons.ts";
import { pathsOf } from "../settings/paths.ts";
import { loadEnforcedPolicy, readPolicyFile } from "./load-policy.ts";
import { loadSettings } from "./load-settings.ts";
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
  const cap = target.name === null ? null : findCap(client.group.caps, target.name);
  const usage = options.policy === undefined && cap !== null ? await readUsage(options.config, client, cap) : null;
  const decision = refuseOverCap(decideTarget(decider, client, target), cap, usage);
  const path = pathTo(client, target);
  const hours = noteHours(decision, atS);
  const zone =
    target.name === null
      ? null
      : findForwardZone(new Map((policy.forward ?? []).map((found) => [found.zone, found])), target.name);
  output.document({
    ok: true,
    ...toDocument(options, policy, decision, path),
    cap: capDocument(cap, usage),
    resolvers: [...(zone?.resolvers ?? [])],
    hours: hours === null ? null : { ...hours, hours: [...hours.hours] },
  });
  for (const line of describe(options, policy, decision, path)) output.line(line);
  if (decision.verdict === "allow") for (const line of capLines(cap, usage)) output.line(line);
  for (const line of hours === null ? [] : hoursLines(hours)) output.line(line);
  if (zone !== null) output.line(`  resolved by: ${zone.resolvers.join(", ")} (zone ${zone.zone})`);
  if (client.group.mode === "audit")
    output.line("  AUDIT: what the policy denies this client is recorded and let pass");
  return 0;
}

/** Returns what the running gate knows of a cap; null when it does not run or has another policy. */
async function readUsage(config: string, { group }: Client, cap: ByteCap): Promise<CapState | null> {
  const { gateSocket } = pathsOf(await loadSettings(config));
  try {
    const usages = await createGateControl(gateSocket).caps();
    const pattern = patternText(cap.pattern);
    return (
      usages.find((one) => one.group === group.name && one.pattern === pattern && one.period === cap.period) ?? null
    );
  } catch {
    // Not answering is an answer here: then the line tells the cap alone.
    return null;
  }
}

/** What the policy allows, and the kernel refuses until the period ends. */
function refuseOverCap(decision: Decision, cap: ByteCap | null, usage: CapState | null): Decision {
  if (decision.verdict === "deny" || decision.rule === null || cap === null || usage === null) return decision;
  if (usage.used < usage.bytes || decision.client.group.mode === "audit") return decision;
  const nearRule = { ...decision.rule, place: cap.place };
  const nearMiss = capStateText(usage);
  return { verdict: "deny", client: decision.client, reason: "quota", nearMiss, nearRule, schedule: null };
}

function capLines(cap: ByteCap | null, usage: CapState | null): readonly string[] {
  if (cap === null) return [];
  const { file, line } = cap.place;
  const what = usage === null ? `${bytesText(cap.bytes)} a ${cap.period}` : capStateText(usage);
  return [`  cap: ${what}, for all that ${patternText(cap.pattern)} names (${file}:${line})`];
}

function capDocument(cap: ByteCap | null, usage: CapState | null): Json {
  if (cap === null) return null;
  const { bytes, period } = cap;
  const until = usage === null ? null : new Date(periodEndMs(period, usage.startMs)).toISOString();
  return { pattern: patternText(cap.pattern), bytes, period, used: usage?.used ?? null, until };
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
