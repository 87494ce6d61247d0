import { markToken } from "./tokens.ts";

/**
 * The fence: one number in the base table. Whoever swaps a release puts a new number there first, and each of its
 * transactions takes that number out and puts it back. A transaction of somebody who was overtaken meanwhile does not
 * find its own, and the kernel refuses all of it: a paused process or a program that was left behind changes nothing.
 */
export const fenceObject = "add set inet clawgress_base fence { type mark; }\n";

/** Returns the command that makes a number, 1–0xffffffff, the one that counts. @throws RangeError */
export function takeFence(token: number): string {
  return `flush set inet clawgress_base fence\nadd element inet clawgress_base fence { ${markToken(token)} }\n`;
}

/** Returns the beginning of a transaction that only loads while its number is the one that counts. @throws RangeError */
export function passFence(token: number): string {
  const element = `element inet clawgress_base fence { ${markToken(token)} }`;
  return `delete ${element}\nadd ${element}\n`;
}
