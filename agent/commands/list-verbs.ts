import type { Command } from "commander";

/** A verb of the program, as completions and the manual need it. */
export interface VerbText {
  /** `policy import file` */
  readonly path: string;
  readonly about: string;
  readonly arguments: readonly { readonly name: string; readonly about: string; readonly isRequired: boolean }[];
  readonly options: readonly OptionText[];
  /** Names of the verbs below it. */
  readonly verbs: readonly string[];
}

export interface OptionText {
  /** `--window` */
  readonly flag: string;
  /** `<time>`; null for a switch. */
  readonly value: string | null;
  readonly about: string;
  readonly choices: readonly string[];
  readonly byDefault: string | null;
}

/** Returns every verb of a program, each before those below it, the program itself (path empty) first. */
export function listVerbs(program: Command): readonly VerbText[] {
  const visit = (command: Command, path: string): readonly VerbText[] => {
    const below = command.commands.filter((child) => child.name() !== "help");
    const text: VerbText = {
      path,
      about: command.description(),
      arguments: command.registeredArguments.map((argument) => ({
        name: argument.name(),
        about: argument.description,
        isRequired: argument.required,
      })),
      options: command.options.filter(({ long }) => long !== "--version").map(optionText),
      verbs: below.map((child) => child.name()),
    };
    return [text, ...below.flatMap((child) => visit(child, path === "" ? child.name() : `${path} ${child.name()}`))];
  };
  return visit(program, "");
}

function optionText(option: Command["options"][number]): OptionText {
  const [, value] = /(<[^>]+>)/.exec(option.flags) ?? [];
  const byDefault: unknown = option.defaultValue;
  return {
    flag: option.long ?? option.flags,
    value: value ?? null,
    about: option.description,
    choices: option.argChoices ?? [],
    byDefault: byDefault === undefined ? null : String(byDefault),
  };
}
