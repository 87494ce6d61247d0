/** Each is imported when it is asked for, so that a process under measurement holds nothing but its own part. */
const workers: { readonly [name: string]: (params: string) => Promise<unknown> } = {
  poll: async (params) => (await import("./poll-worker.ts")).pollAndList(JSON.parse(params)),
  fetch: async (params) => (await import("./fetch-worker.ts")).fetchOnce(JSON.parse(params)),
  compile: async () => (await import("./compile-worker.ts")).compileInput(),
  plain: async () => (await import("./compile-worker.ts")).writePlainly(),
  storm: async (params) => (await import("./storm-worker.ts")).connectAgainAndAgain(JSON.parse(params)),
  delay: async (params) => (await import("./delay-line.ts")).delayForEver(JSON.parse(params)),
  accept: async (params) => (await import("./storm-worker.ts")).acceptForEver(JSON.parse(params)),
};

/** Does a worker's part and prints its result as one line of JSON. @throws Error for an unknown name */
export async function beWorker(name: string, params: string): Promise<void> {
  const work = workers[name];
  if (work === undefined) throw new Error(`there is no worker ${name}`);
  console.log(JSON.stringify(await work(params)));
}
