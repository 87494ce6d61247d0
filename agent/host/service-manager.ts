import { AgentError } from "../errors.ts";
import { openLibc } from "./libc.ts";

/** What systemd, if it started this process, is told of it (sd_notify(3)). Without it everything here does nothing. */
export interface ServiceManager {
  /** Whether somebody listens. */
  readonly isThere: boolean;
  /** A sign of life is due within this time; null: nobody waits for one. */
  readonly watchdogMs: number | null;
  /** The process does its work from now on. */
  ready(): void;
  /** One line for `systemctl status`. */
  status(text: string): void;
  /** The sign of life. */
  alive(): void;
  /** The process was told to end, and is about to. */
  stopping(): void;
}

type Environment = { [name: string]: string | undefined };

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
/** MSG_NOSIGNAL, and MSG_DONTWAIT: nothing here waits for systemd. */
const FLAGS = 0x4000 | 0x40;
/** `sun_path` of unix(7). */
const MAX_PATH_BYTES = 107;
const MAX_STATUS_CHARS = 500;

const nobody: ServiceManager = {
  isThere: false,
  watchdogMs: null,
  ready: () => {},
  status: () => {},
  alive: () => {},
  stopping: () => {},
};

/**
 * Finds who started this process, and takes the note of it out of the environment: what this process starts speaks for
 * itself. @throws AgentError HOST_MISSING when systemd waits for a word and cannot be told.
 */
export async function openServiceManager(environment: Environment = process.env): Promise<ServiceManager> {
  const { NOTIFY_SOCKET: address, WATCHDOG_USEC: watchdog, WATCHDOG_PID: watched } = environment;
  for (const name of ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]) delete environment[name];
  if (address === undefined || address === "") return nobody;
  const target = socketAddress(address);
  if (target === null) {
    throw new AgentError("HOST_MISSING", `NOTIFY_SOCKET is no address: ${address.slice(0, 200)}`, {
      remedy: "start this by systemd, or without NOTIFY_SOCKET",
    });
  }
  const tell = await openDatagrams(target);
  const isWatched = watched === undefined || watched === String(process.pid);
  const watchdogMs = isWatched && /^[1-9][0-9]{0,15}$/.test(watchdog ?? "") ? Number(watchdog) / 1000 : null;
  return {
    isThere: true,
    watchdogMs,
    ready: () => tell("READY=1"),
    status: (text) => tell(`STATUS=${text.replaceAll(/[^ -~]/g, "?").slice(0, MAX_STATUS_CHARS)}`),
    alive: () => tell("WATCHDOG=1"),
    stopping: () => tell("STOPPING=1"),
  };
}

/** Returns the bytes of a `sockaddr_un`, or null: a path, or with `@` a name that is in no folder. */
function socketAddress(text: string): Buffer | null {
  const path = Buffer.from(text, "utf8");
  if (path.length > MAX_PATH_BYTES || (text[0] !== "/" && text[0] !== "@")) return null;
  if (text[0] === "@") path[0] = 0;
  const family = Buffer.alloc(2);
  family.writeUInt16LE(AF_UNIX);
  return Buffer.concat(text[0] === "@" ? [family, path] : [family, path, Buffer.alloc(1)]);
}

/** Node has no datagrams of Unix sockets, and a program that sends them for us would have to be allowed to run. */
async function openDatagrams(address: Buffer): Promise<(text: string) => void> {
  const { library, errno } = await openLibc();
  const socket = library.func("int socket(int domain, int type, int protocol)");
  const sendTo = library.func(
    "intptr_t sendto(int fd, const void *buffer, uintptr_t length, int flags, const void *address, uint32_t size)",
  );
  const fd: number = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) throw new AgentError("HOST_MISSING", `no socket to systemd: ${errno()}`);
  return (text) => {
    const bytes = Buffer.from(text, "utf8");
    // One that is not taken is one too few: systemd then does what it does to those that say nothing.
    sendTo(fd, bytes, bytes.length, FLAGS, address, address.length);
  };
}
