/** Resolves or rejects when all are over: nothing of a swap that failed goes on while the next one begins. */
export async function allDone(parts: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(parts)) {
    if (result.status === "rejected") throw result.reason;
  }
}
