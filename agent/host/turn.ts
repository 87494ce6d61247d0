/** Runs pieces of work one after the other, in the order they came; one that fails does not hold up the next. */
export type Turn = <Result>(work: () => Promise<Result>) => Promise<Result>;

/** Returns a new queue. */
export function createTurn(): Turn {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const turn = last.then(work);
    last = turn.catch(() => {
      // Whoever asked for it is told; the queue goes on.
    });
    return turn;
  };
}
