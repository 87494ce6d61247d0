import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { sleepMs } from "../../agent/host/clock.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { packageRoot } from "../lab/processes.ts";
import type { Checkout } from "./checkout.ts";
import type { Side } from "./side.ts";

/** What driver.py prints. */
interface Report {
  readonly commands: readonly { readonly command: string; readonly exitCode: number; readonly output: string }[];
  readonly error: string | null;
}

const GENERATOR_TIMEOUT_MS = 90_000;
/** named loads its policy zones after it has begun to answer. */
const ZONES_MS = 1_500;

/** Raises a lab that the original rules. `note` is told what a person should know who reads the results. */
export async function raiseOriginal(checkout: Checkout, note: (text: string) => void): Promise<Side> {
  // The original masks nobody: that is the router's own business.
  const lab = await startLab({ routeClients: true });
  try {
    await lab.execChecked("gateway", ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
    const folder = join(lab.folder, "original");
    await mkdir(folder);
    await chmod(folder, 0o755);
    let policies = 0;
    const enforce: Side["enforce"] = async (policy) => {
      policies += 1;
      const file = join(folder, `policy-${policies}.json`);
      await writeFile(file, JSON.stringify(policy));
      const names = await generate(lab, checkout, checkout.namesGenerator, file, folder);
      const rules = await generate(lab, checkout, checkout.rulesGenerator, file, folder);
      for (const { command, exitCode, output } of names.commands) {
        if (exitCode !== 0) note(`${command}: named does not start: ${output.replace(/^.*?\/etc/, "/etc")}`);
      }
      await sleepMs(ZONES_MS);
      return refusalOf(rules) || refusalOf(names);
    };
    return { lab, enforce, allowZone: "rpz-allow.clawgress" };
  } catch (error) {
    await lab.stop();
    throw error;
  }
}

async function generate(
  lab: Lab,
  { isRepaired }: Checkout,
  generator: string,
  policyFile: string,
  folder: string,
): Promise<Report> {
  const driver = join(packageRoot(), "test", "original", "driver.py");
  const options = isRepaired ? ["--without-rpz-log"] : [];
  const argv = ["python3", driver, generator, policyFile, folder, lab.addresses.dns.v4, ...options];
  const stdout = await lab.execChecked("gateway", argv, { timeoutMs: GENERATOR_TIMEOUT_MS });
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Report;
}

/** Rules that nft refuses are no error to the original; a question whether nft knows something is no refusal. */
function refusalOf({ commands, error }: Report): string {
  if (error !== null) return `ends with ${error}`;
  const refused = commands.find(({ command, exitCode }) => command.startsWith("nft -f") && exitCode !== 0);
  return refused === undefined ? "" : "nft refuses all rules, the program ends with 0";
}
