import type { Settings } from "../settings/settings.ts";
import type { ApplyContext } from "./context.ts";

/** What a revert timer is told on its standard input, as one line of JSON. It reads no agent.json and no policy. */
export interface RevertOrder extends Pick<ApplyContext, "configFile" | "programFolder" | "users"> {
  readonly settings: Settings;
  /** The transaction that it watches; everything else about it is in the record on disk. */
  readonly transactionId: string;
  /** Where its record lies; null for that of a change in flight. */
  readonly transactionFolder: string | null;
}
