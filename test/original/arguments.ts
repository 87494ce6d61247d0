import { parseArgs } from "node:util";

/** What `npm run original` is to do. */
export interface Arguments {
  /** A checkout of the original. */
  readonly checkout: string;
  /** Where the results go as JSON as well. */
  readonly jsonFile: string | null;
  /** True leaves out of the original's named configuration the one line for which BIND refuses `main`'s. */
  readonly isRepaired: boolean;
  /** Parts of titles; only cases with one of them are played. Empty: all. */
  readonly only: readonly string[];
}

export const usage = `usage: npm run original -- --checkout DIR [--json FILE] [--without-rpz-log] [PART OF A TITLE…]

DIR is a checkout of the original program, which is no part of this project. Get it, and take one of two commits:

  git clone https://github.com/bufordtjustice2918/clawgress DIR
  git -C DIR checkout f11c77b7b    # main, v1.0.3
  git -C DIR checkout 1765787d4    # mvpv2.2: hosts, proxy, limits, hours, caps

--without-rpz-log leaves out the line "log yes;", for which named refuses the configuration that main writes.`;

/** Returns the arguments, or what is wrong with them and what to do. */
export function readArguments(
  argv: readonly string[],
): { readonly ok: true; readonly args: Arguments } | { readonly ok: false; readonly message: string } {
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: { checkout: { type: "string" }, json: { type: "string" }, "without-rpz-log": { type: "boolean" } },
    });
    if (values.checkout === undefined || values.checkout === "") {
      return { ok: false, message: `no checkout of the original is given\n${usage}` };
    }
    const jsonFile = values.json ?? null;
    const isRepaired = values["without-rpz-log"] ?? false;
    return { ok: true, args: { checkout: values.checkout, jsonFile, isRepaired, only: positionals } };
  } catch (error) {
    return { ok: false, message: `${(error as Error).message}\n${usage}` };
  }
}
