/** Work that is done again and again until it is stopped. */
export interface Timers {
  isStopped: boolean;
  readonly handles: Set<NodeJS.Timeout>;
  readonly onError: (error: unknown) => void;
}

/** Pause after work that failed. */
const FAILED_MS = 10_000;

/** Runs work again and again, each time after the pause that it returns, in ms, from its end. */
export function repeat(timers: Timers, work: () => Promise<number>): void {
  const next = (delayMs: number): void => {
    if (timers.isStopped) return;
    const handle = setTimeout(() => {
      timers.handles.delete(handle);
      void work()
        .catch((error: unknown) => {
          timers.onError(error);
          return FAILED_MS;
        })
        .then(next);
    }, delayMs);
    timers.handles.add(handle);
  };
  next(0);
}
