import { readFile, writeFile } from "node:fs/promises";
import { renderBase } from "../compile/nft-base.ts";
import { AgentError } from "../errors.ts";
import { readFileIfAny, replaceFile } from "../host/files.ts";
import type { ApplyContext } from "./context.ts";
import { hasTable, loadRuleset } from "./kernel.ts";

const MAX_BASE_BYTES = 1024 * 1024;
export const FORWARDING = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"] as const;

/**
 * Loads the static table from agent.json when it does not stand or is another one. It denies everything but the lifeline,
 * and everything stays denied until a release stamps what it allows.
 * @throws AgentError APPLY_FAILED
 */
export async function ensureBase(context: ApplyContext): Promise<void> {
  const loaded = await readFileIfAny(context.paths.base, MAX_BASE_BYTES);
  const isSame = loaded?.equals(Buffer.from(renderBaseOf(context))) === true;
  if (isSame && (await hasTable("clawgress_base")) && (await hasTable("clawgress"))) return;
  await loadBase(context);
}

/** Loads the static table whatever stands: it is one transaction that opens nothing at any moment. @throws AgentError APPLY_FAILED, HOST_FILE */
export async function loadBase(context: ApplyContext): Promise<void> {
  const text = renderBaseOf(context);
  await loadRuleset(text);
  await replaceFile(context.paths.base, text);
  context.log.info({ event: "base-loaded" });
}

/** Returns the text of the base table for this gateway. */
export function renderBaseOf({ settings, users }: ApplyContext): string {
  const proxyUid = users.proxy?.uid ?? null;
  return renderBase(settings, { dnsUid: users.named.uid, gateUid: users.gate.uid, proxyUid });
}

/** Turns forwarding on. Only called once the base table stands, so that nothing is ever forwarded without it. */
export async function enableForwarding(): Promise<void> {
  if (!(await hasTable("clawgress_base"))) {
    throw new AgentError("APPLY_FAILED", "the base table does not stand; forwarding stays off");
  }
  for (const path of FORWARDING) {
    if ((await readFile(path, "utf8")).trim() !== "1") await writeFile(path, "1\n");
  }
}
