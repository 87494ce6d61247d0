/** A parser of hostile bytes. It is sound when it returns, or throws the program's own error, within its time. */
export interface FuzzTarget {
  readonly name: string;
  /** Inputs to begin from: sound ones, and some that are almost. */
  readonly seedCorpus: () => readonly Buffer[];
  /** Throws anything but an AgentError for a finding. */
  readonly run: (bytes: Buffer) => unknown;
}
