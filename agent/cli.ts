import { CommanderError } from "commander";
import { createOutput, describeError } from "./commands/output.ts";
import { codes, toAgentError } from "./errors.ts";
import { buildProgram } from "./program.ts";
import type { Verb } from "./verb.ts";

/** argv → one verb → an exit status. The only caller of process.exit. */

async function main(): Promise<number> {
  let chosen: Verb | null = null;
  const program = buildProgram((verb) => {
    chosen = verb;
  });
  // --json is understood before and after the verb.
  const argv = process.argv.slice(2);
  const json = argv.includes("--json");
  const output = createOutput(
    { json, color: process.stdout.isTTY === true && process.env["NO_COLOR"] === undefined },
    process.stdout,
    process.stderr,
  );
  try {
    await program.parseAsync(
      argv.filter((word) => word !== "--json"),
      { from: "user" },
    );
    const verb = chosen as Verb | null;
    if (verb === null) return codes.USAGE.exit;
    return await verb(output);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : codes.USAGE.exit;
    const failure = toAgentError(error, "HOST_COMMAND", "unexpected failure");
    output.document({ ok: false, code: failure.code, message: failure.message, remedy: failure.remedy });
    process.stderr.write(json ? "" : `${describeError(failure)}\n`);
    return codes[failure.code].exit;
  }
}

/** A pipe takes more than it holds only once somebody reads; what is left would be lost at the exit. */
async function flush(stream: NodeJS.WriteStream): Promise<void> {
  await new Promise<void>((resolve) => stream.write("", () => resolve()));
}

const status = await main();
await Promise.all([flush(process.stdout), flush(process.stderr)]);
process.exit(status);
