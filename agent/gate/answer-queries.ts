import type { Histogram } from "../host/histogram.ts";
import type { Allowed } from "../policy/decide.ts";
import type { ActivePolicy } from "./active-policy.ts";
import type { ClientTable } from "./clients.ts";
import type { DenyVerdict } from "./deny-record.ts";
import type { Hold } from "./hold.ts";
import { judgeAnswer } from "./judge-answer.ts";
import {
  judgeQuery,
  type QueryVerdict,
  type Refusal,
  refuseForNow,
  type WasGiven,
  wouldRefuse,
} from "./judge-query.ts";
import type { NameAccess } from "./ledger.ts";
import type { Machines } from "./machines.ts";
import type { NamedHealth } from "./named-check.ts";
import type { Pins } from "./pins.ts";
import type { Upstream } from "./upstream.ts";
import { ede, encodeName, HEADER_BYTES, MIN_UDP_BYTES, rcode as rcodes } from "./wire.ts";
import { type Answer, buildAnswer, parseAnswer } from "./wire-answer.ts";
import { buildOwnAnswer } from "./wire-own.ts";
import { parseQuery, type Query } from "./wire-query.ts";

export type Transport = "udp" | "tcp";

/** What the gate goes by at this moment; `control` and the check of named change it. */
export interface GateState {
  policy: ActivePolicy | null;
  named: NamedHealth;
  /** False until the ledger agrees with the kernel: at the start, and after a write that failed. */
  isKernelKnown: boolean;
  /** Verdict → how often, since the start. */
  readonly counters: Map<string, number>;
  /** From a question to its answer, pauses included; and the pauses alone. */
  readonly latency: Histogram;
  readonly holds: Histogram;
}

export interface AnswerOptions {
  readonly state: GateState;
  readonly pins: Pick<Pins, "pin" | "namesOf">;
  readonly upstream: Upstream;
  /** named without the policy's zones, for what an audit lets pass. */
  readonly auditUpstream: Upstream;
  readonly clients: ClientTable;
  readonly machines: Machines;
  readonly noteRefusal: (
    refusal: Refusal,
    from: { readonly client: string; readonly query: Query | null },
    policy: ActivePolicy | null,
    verdict: DenyVerdict,
  ) => void;
  /** Told of a question that was let through: `allowed`, or why it was not answered after all. */
  readonly noteQuery: (
    from: { readonly client: string; readonly query: Query },
    reason: string,
    decision: Allowed | null,
  ) => void;
  readonly hold: Hold;
  readonly nowS: () => number;
  /** Told of an exception, which would be a bug: the query then stays without an answer. */
  readonly onError: (error: unknown) => void;
}

/** Returns the answer to a client's message, or null for none. Never rejects. */
export type AnswerQuery = (message: Buffer, client: string, transport: Transport) => Promise<Buffer | null>;

/** Queries under way over all clients; each holds a few hundred bytes. */
const MAX_UNDER_WAY = 8192;
const MAX_TCP_BYTES = 65_535;
/** A policy that is swapped while an answer is under way has the query judged again; more swaps than this are an attack on patience. */
const MAX_TRIES = 3;

/** Returns the gate's way from a query to its answer. */
export function createAnswerQuery(options: AnswerOptions): AnswerQuery {
  const { state, hold, clients, nowS } = options;
  const ask = createSharedAsk(options.upstream);
  const askUnderAudit = createSharedAsk(options.auditUpstream);
  let underWay = 0;

  const count = (verdict: string): void => {
    state.counters.set(verdict, (state.counters.get(verdict) ?? 0) + 1);
  };
  const refuse = (refusal: Refusal, from: From, code: number = ede.BLOCKED): Buffer => {
    count(refusal.reason);
    options.noteRefusal(refusal, from, state.policy, "deny");
    const isNegative = refusal.rcode === rcodes.NXDOMAIN;
    const soaSerial = isNegative ? (state.policy?.provenance.serial ?? 1) : null;
    const blocked = { code, text: refusal.text };
    return buildOwnAnswer(from.query, { rcode: refusal.rcode, soaSerial, ede: blocked }, from.maxBytes);
  };
  const noteWouldDeny = (refusal: Refusal, from: From): void => {
    count("would-deny");
    options.noteRefusal(refusal, from, state.policy, "would-deny");
  };
  const fail = (verdict: string, text: string, from: From, decision: Allowed): Buffer => {
    count(verdict);
    options.noteQuery(from, verdict, decision);
    const failure = { code: ede.NETWORK_ERROR, text: `clawgress: ${text}` };
    return buildOwnAnswer(from.query, { rcode: rcodes.SERVFAIL, soaSerial: null, ede: failure }, from.maxBytes);
  };
  const notReady = (from: From, detail: string): Buffer =>
    refuse(refuseForNow("not-ready", null, detail), from, ede.NOT_READY);

  const wasGiven: WasGiven = (policy, { group }, clientAddress, address) =>
    options.pins.namesOf(clientAddress, policy.release.groups[group.name] ?? null, address).length > 0;

  /** Returns whether to go on; false when too many wait. */
  const waitForHold = async (): Promise<boolean> => {
    const begunS = nowS();
    const isOver = await hold.wait();
    state.holds.note(nowS() - begunS);
    return isOver;
  };

  /** Returns null when the policy was swapped meanwhile: the query is then judged anew. */
  const forward = async (verdict: Forward, from: From): Promise<Buffer | null> => {
    const { policy, decision, name } = verdict;
    const access = policy.accessFor(decision);
    if (!state.named.ok || access === null) return notReady(from, state.named.detail);
    if (!state.isKernelKnown) return notReady(from, "the kernel's maps are not there");
    if (decision.wouldDeny !== null) noteWouldDeny(wouldRefuse(policy, decision.wouldDeny, name), from);
    if (isOneOfMany(decision) && !clients.takeName(options.machines.accountOf(from.client), name, nowS())) {
      return refuse(refuseForNow("dns-rate", decision.client, `too many names under a wildcard: ${name}`), from);
    }
    const answer = await (decision.wouldDeny === null ? ask : askUnderAudit)(from.query, name, from.transport);
    if (hold.isHeld && !(await waitForHold())) return notReady(from, "a new policy is taking effect");
    if (state.policy !== policy) return null;
    if (answer === null) return fail("upstream-failed", "named did not answer", from, decision);
    return await openAndAnswer(answer, verdict, access, from);
  };
  const openAndAnswer = async (answer: Answer, verdict: Forward, access: NameAccess, from: From): Promise<Buffer> => {
    const { policy, decision, name } = verdict;
    const { refusal, wouldDeny } = judgeAnswer(policy, decision, name, answer);
    if (refusal !== null) return refuse(refusal, from);
    if (wouldDeny !== null && decision.wouldDeny === null) noteWouldDeny(wouldDeny, from);
    const message = buildAnswer(answer, from.query, from.maxBytes);
    // An answer that does not fit carries no address, and the client comes back over TCP.
    if (answer.addresses.length === 0 || message.readUInt16BE(6) === 0) return done(message, from, decision);
    const outcome = await options.pins.pin({
      ...{ client: from.client, siblings: options.machines.addressesOf(from.client), name, access },
      addresses: answer.addresses,
    });
    if (outcome === "pinned") return done(message, from, decision);
    if (outcome === "failed") return fail("pin-failed", "the addresses could not be opened", from, decision);
    return refuse(refuseForNow("dns-rate", decision.client, `too many open addresses for ${name}`), from);
  };
  const done = (message: Buffer, from: From, decision: Allowed | null): Buffer => {
    count("answered");
    options.noteQuery(from, "allowed", decision);
    return message;
  };
  /** Returns why a question is not even looked at; null when it is under way from now on. */
  const begin = (from: From): Buffer | null => {
    const tooMany = (what: string): Buffer => refuse(refuseForNow("dns-rate", null, what), from);
    if (!clients.takeQuery(from.machine, nowS())) return tooMany("too many queries");
    if (underWay >= MAX_UNDER_WAY) return notReady(from, "too many queries are under way");
    if (!clients.begin(from.machine)) return tooMany("too many queries of this client are under way");
    underWay += 1;
    return null;
  };
  const answerParsed = async (from: From): Promise<Buffer> => {
    const refusal = begin(from);
    if (refusal !== null) return refusal;
    try {
      if (hold.isHeld && !(await waitForHold())) return notReady(from, "a new policy is taking effect");
      for (let tries = 0; tries < MAX_TRIES; tries++) {
        const verdict = judgeQuery(state.policy, from.client, from.query, wasGiven);
        if (verdict.kind === "refuse") return refuse(verdict, from);
        if (verdict.kind === "no-data") return done(noData(state, from), from, null);
        const answer = await forward(verdict, from);
        if (answer !== null) return answer;
      }
      return notReady(from, "the policy keeps changing");
    } finally {
      underWay -= 1;
      clients.end(from.machine);
    }
  };
  const answerMessage: AnswerQuery = async (message, client, transport) => {
    const parsed = parseQuery(message);
    if (parsed.kind === "drop") {
      count("dropped");
      return null;
    }
    if (parsed.kind === "error") {
      count("dns-malformed");
      const refusal = { ...refuseForNow("dns-malformed", null, "malformed"), rcode: parsed.rcode };
      options.noteRefusal(refusal, { client, query: null }, state.policy, "deny");
      return clients.takeQuery(options.machines.of(client), nowS()) ? parsed.answer : null;
    }
    const { query } = parsed;
    const maxBytes = transport === "tcp" ? MAX_TCP_BYTES : (query.edns?.udpBytes ?? MIN_UDP_BYTES);
    return await answerParsed({ query, client, machine: options.machines.of(client), transport, maxBytes });
  };
  return async (message, client, transport) => {
    const begunS = nowS();
    try {
      const answer = await answerMessage(message, client, transport);
      if (answer !== null) state.latency.note(nowS() - begunS);
      return answer;
    } catch (error) {
      count("exception");
      options.onError(error);
      return null;
    }
  };
}

type Forward = Extract<QueryVerdict, { kind: "forward" }>;

interface From {
  readonly query: Query;
  readonly client: string;
  readonly machine: string;
  readonly transport: Transport;
  readonly maxBytes: number;
}

/** Names that nobody listed one by one are bounded: asking for many of them is what a tunnel does. */
function isOneOfMany({ rule }: Allowed): boolean {
  return rule === null || ("pattern" in rule && rule.pattern.kind === "subdomains");
}

function noData(state: GateState, from: From): Buffer {
  const soaSerial = state.policy?.provenance.serial ?? 1;
  return buildOwnAnswer(from.query, { rcode: rcodes.NOERROR, soaSerial, ede: null }, from.maxBytes);
}

/** Returns a way to ask named in which equal questions that are under way at the same time are asked once. */
function createSharedAsk(
  upstream: Upstream,
): (query: Query, name: string, transport: Transport) => Promise<Answer | null> {
  const asked = new Map<string, Promise<Answer | null>>();
  return (query, name, transport) => {
    const dnssecOk = query.edns?.dnssecOk ?? false;
    const { checkingDisabled, type } = query;
    const key = `${transport} ${type} ${dnssecOk} ${checkingDisabled} ${name}`;
    const known = asked.get(key);
    if (known !== undefined) return known;
    const nameBytes = encodeName(name);
    const answer = upstream
      .ask({ nameBytes, type, dnssecOk, checkingDisabled }, transport)
      .then((message) => (message === null ? null : parseAnswer(message, HEADER_BYTES + nameBytes.length + 4)))
      .finally(() => asked.delete(key));
    asked.set(key, answer);
    return answer;
  };
}
