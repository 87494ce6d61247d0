import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, open, rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { notePid } from "../host/daemon.ts";
import { listenPrivately } from "../host/listen-privately.ts";
import { mainPid, startUnit, stopUnits } from "../host/systemd.ts";
import type { ApplyContext } from "./context.ts";
import { timerUnit } from "./daemons.ts";

/** The wire to a revert timer: one line goes there, one comes back, and its end is told to both. */
export interface TimerChannel {
  /** The first line that the timer says; rejects with why there will be none. */
  readonly answer: Promise<string>;
  send(line: string): void;
  /** Writes its pid file; returns false when it does not run. */
  note(pidFile: string): Promise<boolean>;
  /** Lets go of it: a timer that was told nothing ends. */
  close(): void;
  kill(): Promise<void>;
}

/** Starts a timer as a process of its own, with its words appended to a log file. */
export async function spawnTimer({ paths, programFolder }: ApplyContext): Promise<TimerChannel> {
  const log = await open(paths.timerLog, "a", 0o640);
  let child: ChildProcess;
  try {
    const argv = [join(programFolder, "revert-timer.mjs")];
    child = spawn(process.execPath, argv, { detached: true, stdio: ["pipe", "pipe", log.fd], cwd: "/" });
  } finally {
    await log.close();
  }
  child.stdin?.on("error", () => {});
  child.unref();
  const answer = new Promise<string>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => reject(new Error(`it ended (${code ?? signal})`)));
    if (child.stdout !== null) readLine(child.stdout, resolve);
  });
  return {
    answer,
    send: (line) => child.stdin?.write(`${line}\n`),
    note: async (pidFile) => child.pid !== undefined && (await notePid(pidFile, child.pid)),
    close: () => {
      child.stdin?.destroy();
      child.stdout?.destroy();
    },
    kill: async () => {
      child.kill("SIGKILL");
    },
  };
}

/**
 * Starts a timer as a transient unit of systemd, so that nothing that happens to the agent's unit happens to it. It has no
 * pipes to us, so it calls back on a socket that only root may use. What goes wrong is the answer.
 */
export async function launchTimer(context: ApplyContext): Promise<TimerChannel> {
  const { programFolder, settings } = context;
  const id = randomBytes(4).toString("hex");
  const unit = timerUnit(context, id);
  const socketPath = join(settings.paths.run, `revert-timer-${id}.sock`);
  const server = createServer({ allowHalfOpen: false });
  await listenPrivately(server, socketPath);
  const called = new Promise<Socket>((resolve) => server.once("connection", resolve));
  const closeServer = async (): Promise<void> => {
    server.close();
    await rm(socketPath, { force: true });
  };
  let connection: Socket | null = null;
  let waiting: string[] = [];
  let isClosed = false;
  const answer = new Promise<string>((resolve, reject) => {
    void called.then((socket) => {
      connection = socket;
      socket.on("error", () => {});
      socket.once("close", () => reject(new Error("it ended")));
      readLine(socket, resolve);
      for (const line of waiting) socket.write(`${line}\n`);
      waiting = [];
      socket.unref();
      if (isClosed) socket.destroy();
      return closeServer();
    }, reject);
    const argv = [process.execPath, join(programFolder, "revert-timer.mjs"), socketPath];
    startUnit(unit, argv).catch((error: Error) => {
      reject(error);
      return closeServer();
    });
  });
  server.unref();
  return {
    answer,
    send: (line) => {
      if (connection === null) waiting.push(line);
      else connection.write(`${line}\n`);
    },
    note: async (pidFile) => {
      const pid = await answer.then(() => mainPid(unit.name)).catch(() => null);
      return pid !== null && (await notePid(pidFile, pid, unit.name));
    },
    close: () => {
      isClosed = true;
      connection?.destroy();
    },
    kill: async () => {
      await stopUnits([unit.name]);
    },
  };
}

/** Makes the folder that either kind needs, and starts the one that agent.json asks for. */
export async function openTimerChannel(context: ApplyContext): Promise<TimerChannel> {
  await mkdir(context.settings.paths.run, { recursive: true });
  return await (context.settings.driver === "systemd" ? launchTimer(context) : spawnTimer(context));
}

function readLine(stream: NodeJS.ReadableStream, resolve: (line: string) => void): void {
  let text = "";
  stream.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    const end = text.indexOf("\n");
    if (end >= 0) resolve(text.slice(0, end));
  });
}
