import type { Command } from "commander";
import type { Output } from "./commands/output.ts";

/** What a verb does; returns the exit status. */
export type Verb = (output: Output) => Promise<number>;
/** Makes a verb with its sample; options and the action are added to it. */
export type MakeVerb = (name: string, about: string, sample: string) => Command;

export const DEFAULT_CONFIG = "/etc/clawgress/agent.json";
