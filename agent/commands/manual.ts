import type { Command } from "commander";
import { codes } from "../errors.ts";
import { listVerbs, type VerbText } from "./list-verbs.ts";
import type { Output } from "./output.ts";

/** Prints the manual page in the language of man(7). Returns 0. */
export async function showManual(program: Command, output: Output): Promise<number> {
  const page = renderManual(listVerbs(program)).join("\n");
  output.line(page);
  output.document({ page });
  return 0;
}

/** Returns the lines of the manual page. */
function renderManual(verbs: readonly VerbText[]): readonly string[] {
  const [program, ...others] = verbs;
  const usable = others.filter(
    ({ verbs: below, arguments: args, options }) => below.length === 0 || args.length + options.length > 0,
  );
  return [
    '.TH CLAWGRESS 8 "" "clawgress" "System Administration"',
    ".SH NAME",
    `clawgress \\- ${roff(program?.about ?? "")}`,
    ".SH SYNOPSIS",
    ".B clawgress",
    ".I verb",
    "[\\fIoptions\\fR]",
    ".SH VERBS",
    ...usable.flatMap(describeVerb),
    ".SH OPTIONS OF EVERY VERB",
    ".TP",
    ".B \\-\\-json",
    "print one JSON document instead of text; its schema is in policy\\-schema/",
    ".TP",
    ".B \\-\\-help",
    "describe the verb, with an example",
    ".SH EXIT STATUS",
    ".TP",
    ".B 0",
    "done",
    ...Object.entries(codes).flatMap(([code, { exit, about }]) => [".TP", `.B ${exit} ${roff(code)}`, roff(about)]),
    ".SH FILES",
    ".TP",
    ".I /etc/clawgress/agent.json",
    "this gateway's configuration; policy\\-schema/agent.schema.json describes every key",
    ".TP",
    ".I /var/lib/clawgress",
    "what must survive a reboot",
    ".TP",
    ".I /run/clawgress",
    "what need not",
    ".SH SEE ALSO",
    ".BR git (1),",
    ".BR ssh\\-keygen (1),",
    ".BR nft (8),",
    ".BR named (8)",
  ];
}

function describeVerb({ path, about, arguments: args, options }: VerbText): readonly string[] {
  const shown = args.map(({ name, isRequired }) =>
    isRequired ? ` \\fI${roff(name)}\\fR` : ` [\\fI${roff(name)}\\fR]`,
  );
  return [
    ".TP",
    `\\fBclawgress ${roff(path)}\\fR${shown.join("")}`,
    roff(about),
    ...(args.length + options.length > 0 ? [".RS"] : []),
    ...args.flatMap(({ name, about: text }) => [".TP", `.I ${roff(name)}`, roff(text)]),
    ...options.flatMap(({ flag, value, about: text, choices, byDefault }) => {
      const of = choices.length === 0 ? "" : ` (${choices.join(", ")})`;
      const otherwise = byDefault === null ? "" : `; default: ${byDefault}`;
      return [
        ".TP",
        `\\fB${roff(flag)}\\fR${value === null ? "" : ` \\fI${roff(value)}\\fR`}`,
        roff(`${text}${of}${otherwise}`),
      ];
    }),
    ...(args.length + options.length > 0 ? [".RE"] : []),
  ];
}

/** A hyphen that is typed, a backslash, and a dot or quote that begins a line. */
function roff(text: string): string {
  const plain = text.replaceAll("\\", "\\e").replaceAll("-", "\\-");
  return /^[.']/.test(plain) ? `\\&${plain}` : plain;
}
