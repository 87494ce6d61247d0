import { join } from "node:path";
import { openRelease } from "../apply/release-store.ts";
import { shardZoneFile } from "../compile/shards.ts";
import { zoneFiles } from "../compile/zone-files.ts";
import { codes } from "../errors.ts";
import { readFileBytes } from "../host/files.ts";
import { listFolder } from "../host/folders.ts";
import { readGatewayStatus } from "../report/read-gateway-status.ts";
import { pathsOf } from "../settings/paths.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";

const MAX_ZONE_BYTES = 256 * 1024 * 1024;

/**
 * Shows the zones that named enforces, and whether its canaries prove that. Returns 0, or the status of GATE_UNREACHABLE
 * when nothing proves it. @throws AgentError STATE_CORRUPT, APPLY_RELEASE_DAMAGED
 */
export async function showZones(options: { readonly config: string }, output: Output): Promise<number> {
  const settings = await loadSettings(options.config);
  const { confirmed, breakGlass, gate } = await readGatewayStatus(settings);
  const digest = breakGlass?.release ?? confirmed.release;
  const isProved = gate?.named.ok === true && gate.digest === digest;
  const shown: { zone: string; records: number; text: string }[] = [];
  if (digest !== null) {
    const { folder } = await openRelease(pathsOf(settings).releases, digest);
    const isSharded = (await listFolder(folder)).includes(shardZoneFile(0));
    for (const { zone, file } of zoneFiles({ isSharded })) {
      const text = (await readFileBytes(join(folder, file), MAX_ZONE_BYTES)).toString("utf8").trimEnd();
      shown.push({ zone, records: text.split("\n").filter((line) => / CNAME /.test(line)).length, text });
    }
  }
  output.line(
    digest === null
      ? "no policy was confirmed yet: every name is denied"
      : `named ${isProved ? "proves that it enforces" : "does not prove that it enforces"} these zones`,
  );
  for (const { zone, records, text } of shown) {
    output.line(`\n; ${zone}: ${records} records`);
    output.line(text);
  }
  output.document({ ok: isProved, release: digest, zones: shown });
  return isProved ? 0 : codes.GATE_UNREACHABLE.exit;
}
