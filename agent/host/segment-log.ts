import {
  closeSync,
  fdatasync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { AgentError } from "../errors.ts";

/** A file of a series that lines are added to. */
export interface SegmentLog {
  /** Adds a line (without its line feed) and returns its bytes; a line is in the file whole or not at all. @throws AgentError HOST_FILE */
  append(line: string): number;
  /** Makes what was added durable, beside the other work. @throws AgentError HOST_FILE */
  sync(): Promise<void>;
  close(): void;
}

/** Returns a new, empty log; a file in its place is emptied. @throws AgentError HOST_FILE */
export function openSegmentLog(path: string): SegmentLog {
  const fd = guard(path, () => openSync(path, "w", 0o640));
  let length = 0;
  return {
    append: (line) =>
      guard(path, () => {
        const data = Buffer.from(`${line}\n`);
        try {
          for (let at = 0; at < data.length; ) at += writeSync(fd, data, at, data.length - at, length + at);
        } catch (error) {
          // A full disk leaves a part of it.
          ftruncateSync(fd, length);
          throw error;
        }
        length += data.length;
        return data.length;
      }),
    sync: () =>
      new Promise((resolve, reject) => {
        fdatasync(fd, (error) => {
          if (error === null) resolve();
          else reject(new AgentError("HOST_FILE", `cannot write ${path}: ${error.message}`, { cause: error }));
        });
      }),
    close: () => closeSync(fd),
  };
}

/** Returns the names of the files in a folder, sorted; the folder is made. @throws AgentError HOST_FILE */
export function openSegmentFolder(folder: string): readonly string[] {
  return guard(folder, () => {
    mkdirSync(folder, { recursive: true, mode: 0o750 });
    return readdirSync(folder).sort();
  });
}

/** Returns the lines of a file, and its bytes. A last line without its line feed is left out. @throws AgentError HOST_FILE */
export function readSegment(path: string): { readonly lines: readonly string[]; readonly bytes: number } {
  return guard(path, () => {
    const lines = readFileSync(path, "utf8").split("\n");
    lines.pop();
    return { lines, bytes: statSync(path).size };
  });
}

/** Removes a file; a missing one is fine. @throws AgentError HOST_FILE */
export function removeSegment(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw new AgentError("HOST_FILE", `cannot remove ${path}: ${(error as Error).message}`, { cause: error });
  }
}

function guard<Result>(path: string, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    throw new AgentError("HOST_FILE", `cannot use ${path}: ${(error as Error).message}`, { cause: error });
  }
}
