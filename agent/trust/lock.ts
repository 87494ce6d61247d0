/** `clawgress.lock.json`: what was approved. The signatures are over its exact bytes. */
export interface Lock {
  readonly version: 1;
  readonly repository: string;
  readonly branch: string;
  readonly group: string;
  readonly serial: number;
  /** path → SHA-256 in hex, of every policy file. */
  readonly files: { readonly [path: string]: string };
}
export const LOCK_PATH = "clawgress.lock.json";
