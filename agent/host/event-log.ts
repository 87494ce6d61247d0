import { writeSync } from "node:fs";

type Tell = (event: { readonly event: string; readonly [key: string]: unknown }) => void;

/** What the apply steps tell: each line is an object with an `event`. The agent's log is one. */
export interface EventLog {
  readonly debug: Tell;
  readonly info: Tell;
  readonly warn: Tell;
  readonly error: Tell;
}

/** Returns a log of the same lines as `createLog` makes, without the library: for a program whose start must be short. */
export function createLineLog(part: string, fd: 1 | 2): EventLog {
  const tell =
    (level: string): Tell =>
    (event) => {
      writeSync(fd, `${JSON.stringify({ level, time: new Date().toISOString(), part, ...event })}\n`);
    };
  return { debug: () => {}, info: tell("info"), warn: tell("warn"), error: tell("error") };
}
