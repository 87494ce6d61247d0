import { closeSync, existsSync, fstatSync, mkdirSync, openSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { AgentError } from "../errors.ts";

/** A file that lines are added to. Writing is synchronous: a line is short, and the files lie in memory (tmpfs). */
export interface AppendLog {
  /** Adds a line (without its line feed). @throws AgentError HOST_FILE */
  append(line: string): void;
  /** Replaces all lines: a crash leaves the old file or the new one. @throws AgentError HOST_FILE */
  rewrite(lines: readonly string[]): void;
  close(): void;
}

/**
 * Returns an open log. With `maxBytes`, a file that would grow past it becomes `<path>.1` (replacing the one before)
 * and a new one begins, so that both together never hold more than twice that.
 * @throws AgentError HOST_FILE
 */
export function openAppendLog(path: string, options: { readonly mode: number; readonly maxBytes?: number }): AppendLog {
  const maxBytes = options.maxBytes ?? Number.MAX_SAFE_INTEGER;
  const wrap = <Result>(work: () => Result): Result => {
    try {
      return work();
    } catch (error) {
      throw new AgentError("HOST_FILE", `cannot write ${path}: ${(error as Error).message}`, { cause: error });
    }
  };
  const open = (): number => {
    if (!existsSync(dirname(path))) mkdirSync(dirname(path), { recursive: true });
    return openSync(path, "a", options.mode);
  };
  let fd = wrap(open);
  let bytes = wrap(() => fstatSync(fd).size);
  return {
    append: (line) =>
      wrap(() => {
        const data = Buffer.from(`${line}\n`);
        if (bytes > 0 && bytes + data.length > maxBytes) {
          renameSync(path, `${path}.1`);
          const next = open();
          closeSync(fd);
          fd = next;
          bytes = 0;
        }
        bytes += writeSync(fd, data);
      }),
    rewrite: (lines) =>
      wrap(() => {
        const temporary = `${path}.tmp`;
        writeFileSync(temporary, lines.map((line) => `${line}\n`).join(""), { mode: options.mode });
        renameSync(temporary, path);
        const next = open();
        closeSync(fd);
        fd = next;
        bytes = fstatSync(fd).size;
      }),
    close: () => closeSync(fd),
  };
}
