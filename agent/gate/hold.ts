/** A pause of the gate: queries wait, bounded in number and time, while an apply swaps the kernel's maps. */
export interface Hold {
  readonly isHeld: boolean;
  /** Begins a pause that ends by itself after `maxMs`; a later one replaces it. */
  begin(maxMs: number): void;
  end(): void;
  /** Resolves with true when the pause is over, at once when there is none; with false when too many wait already. */
  wait(): Promise<boolean>;
}

/** Returns a hold that at most `maxWaiting` queries wait for. */
export function createHold(maxWaiting: number): Hold {
  let timer: NodeJS.Timeout | null = null;
  let waiting: (() => void)[] = [];
  const end = (): void => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    const released = waiting;
    waiting = [];
    for (const release of released) release();
  };
  return {
    get isHeld() {
      return timer !== null;
    },
    begin: (maxMs) => {
      if (timer !== null) clearTimeout(timer);
      timer = setTimeout(end, maxMs);
    },
    end,
    wait: async () => {
      while (timer !== null) {
        if (waiting.length >= maxWaiting) return false;
        await new Promise<void>((resolve) => waiting.push(resolve));
      }
      return true;
    },
  };
}
