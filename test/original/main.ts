import { writeFile } from "node:fs/promises";
import { release } from "node:os";
import { run } from "../../agent/host/run.ts";
import { layOut } from "../bench/table.ts";
import { addressCases } from "./address-cases.ts";
import { readArguments } from "./arguments.ts";
import { type Checkout, readCheckout } from "./checkout.ts";
import { hostCases } from "./host-cases.ts";
import { nameCases } from "./name-cases.ts";
import { playCase, type Row } from "./play.ts";
import { proxyCases } from "./proxy-cases.ts";

/**
 * `npm run original -- --checkout DIR`: the same policies before the original program and before ours, what is tried under
 * each, and what came of it. Ends with status 1 when ours is not what it must be, 2 when there is nothing to compare with.
 */

const cases = [...nameCases, ...addressCases, ...hostCases, ...proxyCases];

async function compare(): Promise<number> {
  const read = readArguments(process.argv.slice(2));
  if (!read.ok) return refuse(read.message);
  const { checkout: folder, jsonFile, isRepaired, only } = read.args;
  const chosen = cases.filter(({ title }) => only.length === 0 || only.some((part) => title.includes(part)));
  if (chosen.length === 0) {
    return refuse(
      `no case has ${only.join(" or ")} in its title; there are\n${cases.map(({ title }) => title).join("\n")}`,
    );
  }
  let checkout: Checkout;
  try {
    checkout = await readCheckout(folder, isRepaired);
  } catch (error) {
    const { message, remedy } = error as Error & { readonly remedy?: string | null };
    return refuse([message, ...(remedy ? [remedy] : [])].join("\n"));
  }
  const notes = new Set<string>();
  const rows: Row[] = [];
  for (const one of chosen) {
    console.error(one.title);
    rows.push(...(await playCase(one, checkout, (text) => notes.add(text))));
  }
  const machine = await describeMachine(checkout);
  const wrong = rows.filter(({ isRight }) => !isRight);
  const lines = rows.map(({ title, what, original, ours }, index) => {
    return [rows[index - 1]?.title === title ? "" : title, what, original, ours];
  });
  const table = layOut(["policy", "what is tried", `original, ${checkout.version}`, "ours"], lines);
  console.log([machine, "", table, "", ...[...notes].map((note) => `- ${note}`)].join("\n"));
  for (const { title, what, ours } of wrong) console.log(`NOT AS IT MUST BE: ${title}: ${what}: ${ours}`);
  console.log(`${rows.length} tried, ours ${wrong.length === 0 ? "as it must be" : `wrong in ${wrong.length}`}`);
  if (jsonFile !== null) {
    const document = { machine, version: checkout.version, isRepaired, notes: [...notes], rows };
    await writeFile(jsonFile, `${JSON.stringify(document, null, 2)}\n`);
  }
  return wrong.length === 0 ? 0 : 1;
}

function refuse(message: string): number {
  console.error(message);
  return 2;
}

async function describeMachine({ version, isRepaired }: Checkout): Promise<string> {
  const versionOf = async (argv: readonly [string, ...string[]]): Promise<string> => {
    const { stdout, stderr } = await run(argv, { timeoutMs: 5_000 });
    return /\d+\.\d+(\.\d+)?/.exec(stdout + stderr)?.[0] ?? "unknown";
  };
  const parts = [
    new Date().toISOString().slice(0, 10),
    `original ${version}${isRepaired ? ' without "log yes;"' : ""}`,
    `Linux ${release()}`,
    `nft ${await versionOf(["nft", "--version"])}`,
    `BIND ${await versionOf(["named", "-v"])}`,
    `HAProxy ${await versionOf(["haproxy", "-v"])}`,
    "over IPv4",
  ];
  return parts.join(", ");
}

process.exitCode = await compare();
