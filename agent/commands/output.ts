import type { AgentError, Json } from "../errors.ts";

/** How a verb speaks: words for people, or one JSON document for machines. A verb returns its exit status and never exits. */
export interface Output {
  readonly json: boolean;
  readonly color: boolean;
  /** Writes a line for people to standard output; nothing under --json. */
  line(text: string): void;
  /** Writes progress or a hint to standard error; nothing under --json. */
  note(text: string): void;
  /** Writes one of many JSON documents, on a line of its own; nothing without --json. */
  lineDocument(value: Json): void;
  /** Writes the verb's one JSON document; nothing without --json. */
  document(value: Json): void;
}

type Stream = { write(text: string): unknown };

/** Returns an Output on two streams. */
export function createOutput(options: { json: boolean; color: boolean }, stdout: Stream, stderr: Stream): Output {
  return {
    ...options,
    line: (text) => {
      if (!options.json) stdout.write(`${text}\n`);
    },
    note: (text) => {
      if (!options.json) stderr.write(`${text}\n`);
    },
    lineDocument: (value) => {
      if (options.json) stdout.write(`${JSON.stringify(value)}\n`);
    },
    document: (value) => {
      if (options.json) stdout.write(`${JSON.stringify(value, null, 2)}\n`);
    },
  };
}

/** Returns an error as lines for people: what failed, then what to do. */
export function describeError(error: AgentError): string {
  return error.remedy === null
    ? `${error.code}: ${error.message}`
    : `${error.code}: ${error.message}\n  → ${error.remedy}`;
}
