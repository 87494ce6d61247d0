import type koffi from "koffi";
import { AgentError } from "../errors.ts";
import { importKoffi, openLibc } from "./libc.ts";

/**
 * nftables without its program: what `nft` reads and writes, by the library that it is made of (libnftables(3)). Nothing
 * is executed for it.
 */
export interface Nftables {
  /** Runs commands as one transaction. @throws AgentError HOST_COMMAND with what nft says of them */
  change(commands: string): Promise<void>;
  /** Returns what `nft -j list …` prints. @throws AgentError HOST_COMMAND when it is not there */
  list(...what: readonly string[]): Promise<readonly NftEntry[]>;
  /** The same as `nft -j -t list …`: without the elements of sets and maps. */
  listTerse(...what: readonly string[]): Promise<readonly NftEntry[]>;
}

/** One object of the list: its kind, and what it is. */
export type NftEntry = { readonly [kind: string]: unknown };

const LIBRARY = "libnftables.so.1";
const CHANGE = 0;
const JSON_OUTPUT = 1 << 4;
const TERSE_OUTPUT = 1 << 11;
const MAX_REASON = 4096;
/** What was needed to print more is given back at once: 300 MB for 100,000 elements, of each thread that has done it. */
const SMALL_LENGTH = 256 * 1024;

/** Opens the library. @throws AgentError HOST_MISSING */
export async function openNftables(): Promise<Nftables> {
  const run = await loadRun();
  // It knows one user at a time: what it keeps for all of them is not made for several threads.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = async (commands: string, flags: number): Promise<string> => {
    const turn = last.then(() => run(commands, flags));
    last = turn.then(({ free }) => free()).catch(() => {});
    const { isDone, text } = await turn;
    if (isDone) return text;
    const said = text.trim().slice(0, MAX_REASON);
    throw new AgentError("HOST_COMMAND", `nftables refuses: ${said}`, { details: { said } });
  };
  const list = async (what: readonly string[], flags: number): Promise<readonly NftEntry[]> => {
    const text = await inTurn(`list ${what.join(" ")}\n`, flags);
    const { nftables } = JSON.parse(text) as { readonly nftables?: readonly NftEntry[] };
    if (nftables === undefined) throw new AgentError("HOST_COMMAND", `nftables lists no ${what.join(" ")}`);
    return nftables;
  };
  return {
    change: async (commands) => {
      await inTurn(commands, CHANGE);
    },
    list: (...what) => list(what, JSON_OUTPUT),
    listTerse: (...what) => list(what, JSON_OUTPUT | TERSE_OUTPUT),
  };
}

interface Answer {
  readonly isDone: boolean;
  /** What it prints, or why it refuses. */
  readonly text: string;
  /** Returns when the library is free for the next user. */
  readonly free: () => Promise<void>;
}

async function loadRun(): Promise<(commands: string, flags: number) => Promise<Answer>> {
  const library = await loadLibrary();
  const { library: libc } = await openLibc();
  const trim = libc.func("int malloc_trim(uintptr_t kept)");
  const create = library.func("void *nft_ctx_new(uint32_t flags)");
  const free = library.func("void nft_ctx_free(void *context)");
  const setFlags = library.func("void nft_ctx_output_set_flags(void *context, unsigned int flags)");
  const bufferOutput = library.func("int nft_ctx_buffer_output(void *context)");
  const bufferErrors = library.func("int nft_ctx_buffer_error(void *context)");
  const outputOf = library.func("const char *nft_ctx_get_output_buffer(void *context)");
  const errorsOf = library.func("const char *nft_ctx_get_error_buffer(void *context)");
  const runCommands = library.func("int nft_run_cmd_from_buffer(void *context, const void *commands)");
  return async (commands, flags) => {
    // One for each call: it keeps what it has read and printed.
    const context: unknown = create(0);
    if (context === null) throw new AgentError("HOST_COMMAND", "nftables has no netlink socket");
    if (bufferOutput(context) !== 0 || bufferErrors(context) !== 0) {
      free(context);
      throw new AgentError("HOST_COMMAND", "nftables has no memory for its output");
    }
    setFlags(context, flags);
    const bytes = Buffer.from(`${commands}\0`);
    const code = await call<number>((done) => runCommands.async(context, bytes, done)).catch((error: unknown) => {
      free(context);
      throw error;
    });
    const text = String(code === 0 ? outputOf(context) : errorsOf(context));
    return {
      ...{ isDone: code === 0, text },
      free: async () => {
        // Closing the socket of a change waits until the kernel is through with what is gone: 12 ms, which nobody else needs to.
        if (flags === CHANGE) await call((done) => free.async(context, done));
        else free(context);
        if (commands.length + text.length > SMALL_LENGTH) trim.async(0, () => {});
      },
    };
  };
}

/** Returns what a call on another thread returns. */
async function call<Result>(
  begin: (done: (error: Error | null | undefined, result: Result) => void) => void,
): Promise<Result> {
  return await new Promise((resolve, reject) => {
    begin((error, result) => {
      if (error === null || error === undefined) resolve(result);
      else reject(error);
    });
  });
}

async function loadLibrary(): Promise<ReturnType<typeof koffi.load>> {
  try {
    return (await importKoffi()).load(LIBRARY);
  } catch (error) {
    throw new AgentError("HOST_MISSING", `cannot use ${LIBRARY}: ${(error as Error).message}`, {
      remedy: "install libnftables1",
      cause: error,
    });
  }
}
