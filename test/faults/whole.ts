import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { digestPolicyTable, rehearseRuleset } from "../../agent/apply/kernel.ts";
import { findProxyDifference } from "../../agent/apply/proxy-service.ts";
import { readTransaction } from "../../agent/apply/transaction.ts";
import { loadSettings } from "../../agent/commands/load-settings.ts";
import { CANARY_NAME, type GateRelease } from "../../agent/compile/release.ts";
import { createGateControl } from "../../agent/gate/control-client.ts";
import { readPointers } from "../../agent/host/pointer-store.ts";
import { pathsOf } from "../../agent/settings/paths.ts";
import type { Lab } from "../lab/lab.ts";
import type { TestGateway } from "../support/gateway.ts";

/** What should be in force, by what survives a crash: the pointer, unless a change was won and the pointer has yet to move. */
export interface Decided {
  readonly release: string;
  readonly commit: string;
}

const NAMED_PORT = "5453";

/** Returns what is decided. @throws Error when nothing was ever confirmed */
export async function readDecided({ folder }: TestGateway): Promise<Decided> {
  const state = join(folder, "state");
  const won = await readTransaction(join(state, "txn"), "confirmed");
  if (won !== null) return { release: won.next, commit: won.commit };
  const { release, commit } = (await readPointers(join(state, "pointers"))).confirmed;
  if (release === null || commit === null) throw new Error("nothing is confirmed");
  return { release, commit };
}

/**
 * Returns a line for each part of the gateway that is not wholly the decided release: the kernel's rules and maps, named's
 * zones, the gate, the proxy's maps. Empty means whole.
 */
export async function listDifferences(lab: Lab, gateway: TestGateway): Promise<readonly string[]> {
  const { release } = await readDecided(gateway);
  const folder = join(gateway.folder, "state", "releases", release);
  const prefix = ["nsenter", `--net=/run/netns/${lab.namespace("gateway")}`];
  const control = createGateControl(join(gateway.folder, "run", "gate", "control.sock"));
  const [wanted, kernel, gate, canary] = await Promise.all([
    tableDigestOf(release, folder),
    digestPolicyTable(prefix),
    control.status(),
    lab.execChecked("gateway", ["dig", "+short", "-p", NAMED_PORT, "@127.0.0.1", CANARY_NAME, "TXT"]),
  ]);
  const gateRelease = JSON.parse(await readFile(join(folder, "gate.json"), "utf8")) as GateRelease;
  const lines: string[] = [];
  if (kernel !== wanted) lines.push(`the kernel does not have release ${release}`);
  if (!gate.ready) lines.push(`the gate serves nobody: ${gate.named.detail}`);
  if (gate.digest !== release) lines.push(`the gate has release ${gate.digest}, not ${release}`);
  if (canary.trim() !== `"${gateRelease.canary}"`) lines.push(`named's canary is ${canary.trim()}`);
  const target = { release: { digest: release, folder }, policy: gateRelease.policy };
  const proxy = await findProxyDifference(
    { paths: pathsOf(await loadSettings(gateway.configFile)), gate: control },
    target,
  );
  if (proxy !== null) lines.push(proxy);
  return lines;
}

const tableDigests = new Map<string, string>();

async function tableDigestOf(release: string, folder: string): Promise<string> {
  const known = tableDigests.get(release);
  if (known !== undefined) return known;
  const scratch = await mkdtemp(join(tmpdir(), "clawgress-whole-"));
  try {
    const digest = await rehearseRuleset(await readFile(join(folder, "policy.nft")), scratch.split("/").at(-1) ?? "");
    tableDigests.set(release, digest);
    return digest;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
