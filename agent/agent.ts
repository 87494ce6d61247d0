import type { Logger } from "pino";
import type { ApplyContext } from "./apply/context.ts";
import type { CycleOutcome } from "./cycle.ts";
import type { Reporter } from "./report/reporter.ts";
import type { Paths } from "./settings/paths.ts";
import type { Settings } from "./settings/settings.ts";
import type { CommitId, Source } from "./source/source.ts";
import type { Root } from "./trust/root.ts";
import type { OpenPgpCheck } from "./trust/verify-commit.ts";

/** One running agent: what it was told, what it works with, and the little that it remembers between cycles. */
export interface Agent {
  readonly settings: Settings;
  readonly paths: Paths;
  readonly root: Root;
  /** Null when the root has no OpenPGP keys, or trust.mode asks for no signed commit. */
  readonly checkOpenPgp: OpenPgpCheck | null;
  readonly source: Source;
  readonly apply: ApplyContext;
  /** Null when no forge is configured. */
  readonly reporter: Reporter | null;
  readonly log: Logger;
  readonly memory: Memory;
}

/** Lost at a restart without harm: everything that must last is in the pointers, the releases and the outbox. */
export interface Memory {
  /** The head that was confirmed, refused or rolled back: nothing is done until the branch moves. */
  settledCommit: CommitId | null;
  last: { readonly outcome: CycleOutcome; readonly atMs: number } | null;
}
