import type { GateRelease } from "../compile/release.ts";
import type { GateControl } from "../gate/control-client.ts";
import type { EventLog } from "../host/event-log.ts";
import type { FileDigests } from "../host/file-digests.ts";
import type { Turn } from "../host/turn.ts";
import type { UserIds } from "../host/users.ts";
import type { Paths } from "../settings/paths.ts";
import type { Settings } from "../settings/settings.ts";
import type { Verdicts } from "./check-artifacts.ts";
import type { RunStep, StepTimes } from "./step.ts";

/** What every apply step works with. One is built at start; only `verdicts`, `digests`, `gateReleases` and `stepTimes` change while the program runs. */
export interface ApplyContext {
  readonly settings: Settings;
  readonly paths: Paths;
  /** The agent.json that the gate is started with. */
  readonly configFile: string;
  /** The folder of clawgress.mjs and client-probe.mjs. */
  readonly programFolder: string;
  /** The proxy's is null while it does not exist: only a policy in SNI mode needs it. */
  readonly users: { readonly named: UserIds; readonly gate: UserIds; readonly proxy: UserIds | null };
  readonly gate: GateControl;
  /** What was checked already: @see checkArtifacts. */
  readonly verdicts: Verdicts;
  /** What is in the files of releases and of named. */
  readonly digests: FileDigests;
  /** Release → what it says, of the last few that this process compiled or read: a large one takes a second to read. */
  readonly gateReleases: Map<string, GateRelease>;
  /** Runs applies and repairs of this process one after the other: a repair never meets a swap. */
  readonly inTurn: Turn;
  /** Runs what changes named, the rules or the gate while no other process of this gateway does: @see createMachineTurn. */
  readonly locked: Turn;
  readonly step: RunStep;
  readonly stepTimes: StepTimes;
  readonly log: EventLog;
}
