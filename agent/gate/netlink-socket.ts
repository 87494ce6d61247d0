import { AgentError } from "../errors.ts";
import { errnoText } from "../host/libc.ts";
import { openNetlink } from "../host/netlink.ts";
import { type EncodedBatch, readReplies } from "./netlink-message.ts";

/** Commits batches of nf_tables. It lives as long as the process; one transaction at a time. */
export interface BatchSocket {
  /** Sends a batch and resolves when the kernel has committed it. @throws AgentError HOST_COMMAND with the kernel's errno. */
  transact(batch: EncodedBatch): Promise<void>;
  close(): void;
}

/** A batch must fit into the send buffer: reconciling 100,000 pins takes about 30 MB. */
const BUFFER_BYTES = 64 * 1024 * 1024;

/**
 * Returns an open socket. Needs CAP_NET_ADMIN in the network namespace's user namespace, and nothing else.
 * @throws AgentError HOST_MISSING when the C library cannot be called or the kernel refuses the socket.
 */
export async function openBatchSocket(): Promise<BatchSocket> {
  const socket = await openNetlink({ bufferBytes: BUFFER_BYTES, isBrief: true });
  return {
    transact: async (batch) => {
      while (socket.receive() !== null); // what an earlier, failed transaction left behind
      // On a worker thread: it waits for the kernel's lock while an apply loads a large ruleset.
      await socket.sendLater(batch.bytes);
      // The kernel works the batch off within send(), so all its replies are there now.
      let isCommitted = false;
      for (let bytes = socket.receive(); bytes !== null; bytes = socket.receive()) {
        const { errno, isAcked } = readReplies(bytes, batch);
        if (errno !== 0) throw new AgentError("HOST_COMMAND", `nf_tables refused: ${errnoText(errno)}`);
        isCommitted ||= isAcked;
      }
      if (!isCommitted) throw new AgentError("HOST_COMMAND", "nf_tables did not acknowledge the transaction");
    },
    close: socket.close,
  };
}
