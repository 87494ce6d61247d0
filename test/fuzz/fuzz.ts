import { AgentError } from "../../agent/errors.ts";
import type { FuzzTarget } from "./target.ts";

export interface FuzzOptions {
  readonly seconds: number;
  /** The same seed makes the same inputs, as long as none is cut off by the time. */
  readonly seed: number;
}

export interface FuzzReport {
  readonly runs: number;
  /** Different ways in which inputs ended: sentences without their numbers. */
  readonly outcomes: number;
  readonly slowestMs: number;
}

const MAX_INPUT_BYTES = 64 * 1024;
const MAX_CORPUS = 2_000;
const MAX_RUN_MS = 5_000;

/**
 * Runs a target on mutated inputs until the time is over. An input that ends in a new way joins the corpus, so that mutations build
 * on what reached further. @throws Error with the input in base64, for an error that is not the program's own, or a hang
 */
export async function fuzz(target: FuzzTarget, { seconds, seed }: FuzzOptions): Promise<FuzzReport> {
  const random = createRandom(seed);
  const corpus = [...target.seedCorpus()];
  const outcomes = new Set<string>();
  const endsAtMs = performance.now() + seconds * 1_000;
  let runs = 0;
  let slowestMs = 0;
  const tryInput = async (input: Buffer): Promise<void> => {
    const startedMs = performance.now();
    const outcome = await runOnce(target, input);
    const tookMs = performance.now() - startedMs;
    if (tookMs > MAX_RUN_MS) throw finding(target, input, `took ${Math.round(tookMs)} ms`);
    slowestMs = Math.max(slowestMs, tookMs);
    runs += 1;
    if (outcomes.has(outcome)) return;
    outcomes.add(outcome);
    if (corpus.length < MAX_CORPUS) corpus.push(input);
  };
  for (const input of target.seedCorpus()) await tryInput(input);
  while (performance.now() < endsAtMs) await tryInput(mutate(corpus, random));
  return { runs, outcomes: outcomes.size, slowestMs: Math.round(slowestMs) };
}

async function runOnce(target: FuzzTarget, input: Buffer): Promise<string> {
  try {
    const result: unknown = await target.run(Buffer.from(input));
    return gist(typeof result === "string" ? result : "ok");
  } catch (error) {
    if (error instanceof AgentError) return gist(`${error.code} ${error.message}`);
    throw finding(target, input, error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
}

/** What kind of outcome a sentence tells of: without numbers, quotations, and what the input brought into it. */
function gist(text: string): string {
  const [first = "", second = ""] = text.replace(/[0-9a-f]{40}|\d+|'[^']*'|"[^"]*"/g, "#").split(": ");
  return `${first}: ${second}`.replace(/[^ -~]+/g, "#").slice(0, 80);
}

function finding(target: FuzzTarget, input: Buffer, why: string): Error {
  return new Error(`${target.name}: ${why}\ninput in base64: ${input.toString("base64")}`);
}

type Random = (below: number) => number;

/** Numbers from 0 up to `below`, by xorshift. */
function createRandom(seed: number): Random {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % Math.max(1, below);
  };
}

const edges = [0, 1, 0x0a, 0x20, 0x30, 0x7f, 0x80, 0xff] as const;

function mutate(corpus: readonly Buffer[], random: Random): Buffer {
  const pick = (): Buffer => corpus[random(corpus.length)] ?? Buffer.alloc(0);
  let bytes = pick();
  for (let count = 1 + random(4); count > 0; count--) {
    const at = random(bytes.length + 1);
    const to = Math.min(bytes.length, at + random(1 << random(10)));
    const [head, part, tail] = [bytes.subarray(0, at), bytes.subarray(at, to), bytes.subarray(to)];
    const other = pick();
    const from = random(other.length);
    const single = Buffer.from(bytes);
    if (at < single.length)
      single[at] = random(2) === 0 ? (single[at] ?? 0) ^ (1 << random(8)) : (edges[random(edges.length)] ?? 0);
    const ways: readonly Buffer[] = [
      single,
      single,
      Buffer.concat([head, tail]),
      Buffer.concat([head, part, part, tail]),
      Buffer.concat([head, other.subarray(from, from + random(1 << random(12))), tail]),
      Buffer.concat([head, Buffer.of(edges[random(edges.length)] ?? 0), part, tail]),
      head,
      Buffer.concat([head, tail, part]),
    ];
    bytes = (ways[random(ways.length)] ?? bytes).subarray(0, MAX_INPUT_BYTES);
  }
  return bytes;
}
