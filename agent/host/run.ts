import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { AgentError } from "../errors.ts";

export interface RunOptions {
  readonly timeoutMs: number;
  /** Default 8 MiB; stdout and stderr each. */
  readonly maxOutputBytes?: number;
  /** What the program reads. It starts before a promised text is known, has its time from then on, and ends when none comes. */
  readonly stdin?: string | Buffer | Promise<string>;
  readonly env?: { readonly [name: string]: string };
  readonly cwd?: string;
  /** A file of ours that the program gets as its descriptor 3. */
  readonly descriptor?: number;
}

export interface RunResult {
  readonly exitCode: number;
  readonly stdout: string;
  /** The same before decoding, for programs that print files. */
  readonly stdoutBytes: Buffer;
  readonly stderr: string;
}

const DEFAULT_MAX_OUTPUT_BYTES = 8 * 1024 * 1024;

/**
 * Runs a program with an argument array (never a shell) and returns its exit code and output, whatever the code is.
 * @throws AgentError HOST_MISSING when the program does not exist, HOST_COMMAND when it is killed by a signal,
 * the time limit or the output limit.
 */
export async function run(argv: readonly [string, ...string[]], options: RunOptions): Promise<RunResult> {
  const [program, ...args] = argv;
  const maxOutputBytes = options.maxOutputBytes ?? DEFAULT_MAX_OUTPUT_BYTES;
  return await new Promise<RunResult>((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: options.env ? { ...process.env, ...options.env } : process.env,
      stdio: ["pipe", "pipe", "pipe", ...(options.descriptor === undefined ? [] : [options.descriptor])],
    }) as ChildProcessWithoutNullStreams;
    const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    let outputBytes = 0;
    let killedBecause: string | null = null;
    const kill = (reason: string): void => {
      killedBecause ??= reason;
      child.kill("SIGKILL");
      // A grandchild may hold the pipes open for as long as it likes; nobody waits for it.
      child.stdout.destroy();
      child.stderr.destroy();
    };
    let timer: NodeJS.Timeout | undefined;
    let hasEnded = false;
    const begin = (stdin: string | Buffer): void => {
      if (hasEnded) return;
      timer = setTimeout(() => kill(`took longer than ${options.timeoutMs} ms`), options.timeoutMs);
      child.stdin.end(stdin);
    };
    const collect = (stream: "stdout" | "stderr") => (chunk: Buffer) => {
      outputBytes += chunk.length;
      if (outputBytes > maxOutputBytes) kill(`printed more than ${maxOutputBytes} bytes`);
      else output[stream].push(chunk);
    };
    child.stdout.on("data", collect("stdout"));
    child.stderr.on("data", collect("stderr"));
    // A program that exits without reading its input gives EPIPE here; its exit code tells the story.
    child.stdin.on("error", () => {});
    if (options.stdin instanceof Promise) options.stdin.then(begin, () => kill("was not needed"));
    else begin(options.stdin ?? "");
    child.on("error", (error: NodeJS.ErrnoException) => {
      hasEnded = true;
      clearTimeout(timer);
      const missing = error.code === "ENOENT";
      reject(
        new AgentError(missing ? "HOST_MISSING" : "HOST_COMMAND", `cannot run ${program}: ${error.message}`, {
          ...(missing ? { remedy: `install the package that provides ${program}` } : {}),
          cause: error,
        }),
      );
    });
    child.on("close", (exitCode, signal) => {
      hasEnded = true;
      clearTimeout(timer);
      const stdoutBytes = Buffer.concat(output.stdout);
      const stdout = stdoutBytes.toString("utf8");
      const stderr = Buffer.concat(output.stderr).toString("utf8");
      if (exitCode === null || killedBecause !== null) {
        const reason = killedBecause ?? `was ended by ${signal}`;
        reject(new AgentError("HOST_COMMAND", `${program} ${reason}`, { details: { argv: [...argv], stderr } }));
      } else resolve({ exitCode, stdout, stdoutBytes, stderr });
    });
  });
}

/** Runs a program that must succeed and returns its standard output. @throws AgentError HOST_COMMAND with its standard error. */
export async function runChecked(argv: readonly [string, ...string[]], options: RunOptions): Promise<string> {
  const result = await run(argv, options);
  if (result.exitCode === 0) return result.stdout;
  const firstLines = result.stderr.trim().split("\n").slice(0, 5).join("; ");
  throw new AgentError("HOST_COMMAND", `${argv.slice(0, 3).join(" ")} failed (${result.exitCode}): ${firstLines}`, {
    details: { argv: [...argv], exitCode: result.exitCode, stderr: result.stderr.slice(0, 4096) },
  });
}
