import { appendFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runChecked } from "../../agent/host/run.ts";
import { addresses, type NameAddresses } from "./addresses.ts";
import { buildMovingZone, buildZones, movingZone, type Zone } from "./zones.ts";

/** Files of the authoritative server. */
export interface NameServerFiles {
  readonly folder: string;
  readonly configuration: string;
  readonly queryLog: string;
  readonly trustAnchors: string;
}

/** One line of the authoritative server's query log. */
export interface LoggedQuery {
  readonly client: string;
  readonly clientPort: number;
  /** Lower case, without the final dot; the root is the empty string. */
  readonly name: string;
  readonly class: string;
  readonly type: string;
  readonly recursionDesired: boolean;
  readonly tcp: boolean;
  readonly dnssecOk: boolean;
  readonly checkingDisabled: boolean;
  /** The server's address that was asked. */
  readonly server: string;
}

const timeoutMs = 20_000;

/** Writes zones, signatures, trust anchors and named's configuration below a folder. @throws AgentError HOST_COMMAND */
export async function prepareNameServer(folder: string, env: { [name: string]: string }): Promise<NameServerFiles> {
  const files: NameServerFiles = {
    folder,
    configuration: join(folder, "named.conf"),
    queryLog: join(folder, "queries.log"),
    trustAnchors: join(folder, "trust-anchors.conf"),
  };
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const zones = buildZones();
  await appendFile(files.queryLog, "");
  await writeFile(files.configuration, configurationText(files, zones));
  const anchors = await Promise.all(zones.map((zone) => writeZone(folder, zone, env)));
  await writeFile(files.trustAnchors, `trust-anchors {\n${anchors.filter((line) => line !== "").join("\n")}\n};\n`);
  return files;
}

/** Replaces the addresses of `moving.test`; the server must be told to reload. */
export async function writeMovingZone(files: NameServerFiles, serial: number, of: NameAddresses): Promise<void> {
  await writeFile(zoneFile(files.folder, movingZone), buildMovingZone(serial, of));
}

/** Returns the queries in the log from a byte offset on, without the lab's own, and the offset behind them. */
export async function readQueryLog(
  files: NameServerFiles,
  offset: number,
): Promise<{ readonly queries: readonly LoggedQuery[]; readonly end: number }> {
  const bytes = await readFile(files.queryLog);
  const end = bytes.lastIndexOf(10) + 1;
  const lines = bytes.subarray(Math.min(offset, end), end).toString("latin1").split("\n");
  const queries = lines.flatMap((line) => parseQueryLine(line) ?? []);
  return { queries: queries.filter((query) => query.client !== query.server), end };
}

/** Returns one parsed line of BIND's category `queries` (BIND 9.18 manual, "The query log entry"), null for any other line. */
export function parseQueryLine(line: string): LoggedQuery | null {
  const found =
    /client @\S+ ([0-9a-f.:]+)#(\d+) \(.*\): (?:view \S+: )?query: (\S+) (\S+) (\S+) ([+-])(\S*) \(([0-9a-f.:]+)\)/i.exec(
      line,
    );
  if (found === null) return null;
  const [, client = "", port = "", name = "", queryClass = "", type = "", recursion = "", flags = "", server = ""] =
    found;
  const letters = flags.replace(/E\(\d+\)/, "");
  return {
    client,
    clientPort: Number(port),
    name: name.toLowerCase().replace(/\.$/, ""),
    class: queryClass,
    type,
    recursionDesired: recursion === "+",
    tcp: letters.includes("T"),
    dnssecOk: letters.includes("D"),
    checkingDisabled: letters.includes("C"),
    server,
  };
}

function zoneFile(folder: string, name: string): string {
  return join(folder, `zone-${name === "." ? "root" : name}`);
}

/** Writes a zone, signed where it says so, and returns its line for `trust-anchors`, empty for unsigned zones. */
async function writeZone(folder: string, zone: Zone, env: { [name: string]: string }): Promise<string> {
  const file = zoneFile(folder, zone.name);
  if (!zone.signed) {
    await writeFile(file, zone.text);
    return "";
  }
  const keygen = ["dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "-K", folder, zone.name] as const;
  const key = (await runChecked(keygen, { timeoutMs, env })).trim();
  const dnskey = await readFile(join(folder, `${key}.key`), "utf8");
  const record = dnskey.split("\n").find((line) => line.includes(" DNSKEY ")) ?? "";
  const [flags, protocol, algorithm, ...base64] = record.split(" DNSKEY ")[1]?.trim().split(/\s+/) ?? [];
  await writeFile(`${file}.unsigned`, `${zone.text}${record}\n`);
  // One key signs everything (-z), and the check afterwards (-P) would ask for a second one.
  await runChecked(
    ["dnssec-signzone", "-q", "-z", "-P", "-K", folder, "-d", folder, "-o", zone.name, "-f", file, `${file}.unsigned`],
    { timeoutMs, env },
  );
  return `  "${zone.name}." static-key ${flags} ${protocol} ${algorithm} "${base64.join("")}";`;
}

/** `-n 1` (one thread) beside it makes the query log ordered, so that a sentinel query proves that it is complete. */
function configurationText(files: NameServerFiles, zones: readonly Zone[]): string {
  const quoted = (path: string): string => JSON.stringify(path);
  return `options {
  directory ${quoted(files.folder)};
  pid-file none;
  session-keyfile ${quoted(join(files.folder, "session.key"))};
  listen-on port 53 { ${addresses.dns.v4}; };
  listen-on-v6 port 53 { ${addresses.dns.v6}; };
  allow-query { any; };
  // As a provider's resolver: RA, and whole CNAME chains across the zones. The root is here too, so nothing leaves.
  recursion yes;
  allow-recursion { any; };
  empty-zones-enable no;
  dnssec-validation no;
  notify no;
  minimal-responses yes;
  querylog yes;
  tcp-clients 1000;
  rrset-order { order random; };
};
controls { };
logging {
  channel queries { file ${quoted(files.queryLog)}; severity info; print-time yes; buffered no; };
  category queries { queries; };
  category default { default_stderr; };
};
${zones.map((zone) => `zone "${zone.name}" { type primary; file ${quoted(zoneFile(files.folder, zone.name))}; };`).join("\n")}
`;
}
