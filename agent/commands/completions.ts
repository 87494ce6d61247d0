// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are shells' own words
import type { Command } from "commander";
import { AgentError } from "../errors.ts";
import { listVerbs, type VerbText } from "./list-verbs.ts";
import type { Output } from "./output.ts";

const shells: { readonly [shell: string]: (verbs: readonly VerbText[]) => readonly string[] } = {
  bash: bashCompletions,
  zsh: zshCompletions,
  fish: fishCompletions,
};

/** Prints a script that completes the program's verbs, options and choices. Returns 0. @throws AgentError USAGE */
export async function showCompletions(shell: string, program: Command, output: Output): Promise<number> {
  const render = Object.hasOwn(shells, shell) ? shells[shell] : undefined;
  if (render === undefined) {
    throw new AgentError("USAGE", `there are no completions for ${shell}`, {
      remedy: `choose one of ${Object.keys(shells).join(", ")}`,
    });
  }
  const script = render(listVerbs(program)).join("\n");
  output.line(script);
  output.document({ shell, script });
  return 0;
}

/** Words for each path of verbs, and choices for each option; paths are found by walking along the words that are verbs. */
function bashCompletions(verbs: readonly VerbText[]): readonly string[] {
  const words = verbs.map(({ path, verbs: below, options }) => {
    const all = [...below, ...options.map(({ flag }) => flag), "--json", "--help"];
    return `    "${path}") words="${all.join(" ")}" ;;`;
  });
  const choices = verbs.flatMap(({ path, options }) =>
    options
      .filter((option) => option.choices.length > 0)
      .map((option) => `    "${path} ${option.flag}") words="${option.choices.join(" ")}" ;;`),
  );
  return [
    "_clawgress() {",
    '  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" path="" words="" at word',
    "  for ((at = 1; at < COMP_CWORD; at++)); do",
    '    word="${COMP_WORDS[at]}"',
    '    case " ${_clawgress_paths} " in *" ${path:+${path}/}${word} "*) path="${path:+${path}/}${word}" ;; esac',
    "  done",
    '  path="${path//\\// }"',
    '  case "$path $previous" in',
    ...choices,
    "  esac",
    '  if [ -z "$words" ]; then',
    '    case "$path" in',
    ...words.map((line) => `  ${line}`),
    "    esac",
    "  fi",
    '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
    '  [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$current"))',
    "}",
    `_clawgress_paths="${verbs.flatMap(({ path }) => (path === "" ? [] : [path.replaceAll(" ", "/")])).join(" ")}"`,
    "complete -o filenames -F _clawgress clawgress",
  ];
}

/** zsh completes by the functions of bash. */
function zshCompletions(verbs: readonly VerbText[]): readonly string[] {
  return [
    "#compdef clawgress",
    "autoload -U +X bashcompinit && bashcompinit",
    ...bashCompletions(verbs).map((line) => line.replace("complete -o filenames", "complete")),
  ];
}

function fishCompletions(verbs: readonly VerbText[]): readonly string[] {
  const quote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = verbs.flatMap(({ path, verbs: below, options }) => {
    const condition = quote(`__clawgress_at ${path}`.trim());
    const about = (name: string): string => verbs.find((verb) => verb.path === `${path} ${name}`.trim())?.about ?? "";
    return [
      ...below.map((name) => `complete -c clawgress -f -n ${condition} -a ${name} -d ${quote(about(name))}`),
      ...options.map(({ flag, value, about: text, choices }) => {
        const wants = value === null ? "" : choices.length > 0 ? ` -x -a ${quote(choices.join(" "))}` : " -r";
        return `complete -c clawgress -n ${condition} -l ${flag.slice(2)}${wants} -d ${quote(text)}`;
      }),
    ];
  });
  return [
    "function __clawgress_at",
    "  set -l words (commandline -opc)",
    "  set -l verbs",
    `  set -l known ${verbs.flatMap(({ path }) => (path === "" ? [] : [quote(path)])).join(" ")}`,
    "  for word in $words[2..-1]",
    '    if contains -- (string trim "$verbs $word") $known',
    "      set verbs $verbs $word",
    "    end",
    "  end",
    '  test "$verbs" = "$argv"',
    "end",
    ...lines,
  ];
}
