import { isIP } from "node:net";
import { parseCidr } from "../policy/cidr.ts";
import type { WindowDocument } from "../policy/document.ts";
import { parseDomainName } from "../policy/domain.ts";
import type { Hours } from "../policy/hours.ts";
import { parseJsonText, type TextIssue } from "../policy/json-text.ts";
import { quoteText } from "../policy/parsed.ts";
import type { Cidr, DomainName } from "../policy/policy.ts";
import { explainSchemaErrors } from "../policy/schema-issues.ts";
import { hoursOf, TIME_ZONE_REMEDY } from "../policy/windows.ts";
import { validate } from "./agent-validator.generated.mjs";
import { DEFAULT_PATHS, ownRepositoryPaths } from "./paths.ts";
import type { RawProbe, RawSettings } from "./raw-settings.ts";
import type { ForgeSettings, ProbeSettings, Settings } from "./settings.ts";

export type SettingsResult =
  | { readonly ok: true; readonly settings: Settings }
  | { readonly ok: false; readonly issues: readonly TextIssue[] };

const MAX_PROBE_HOSTS = 12;

/** Returns the settings of an agent.json with every default filled in, or every reason why it is refused, with places. */
export function parseSettings(bytes: Uint8Array, file: string): SettingsResult {
  const document = parseJsonText(bytes, { file });
  if (!document.ok) return document;
  if (!validate(document.value)) return { ok: false, issues: explainSchemaErrors(validate.errors, document.locate) };
  const raw = document.value as unknown as RawSettings;
  const issues: TextIssue[] = [];
  const report = (pointer: string, message: string, remedy: string): void => {
    issues.push({ place: document.locate(pointer), message, remedy });
  };
  const settings = fillDefaults(raw, report);
  checkRepository(raw, report);
  checkApi(settings, report);
  checkTogether(settings, report);
  return issues.length > 0 ? { ok: false, issues } : { ok: true, settings };
}

type Report = (pointer: string, message: string, remedy: string) => void;

/** What holds where agent.json is silent. A key that is null here has no default: it is off. */
const defaults = {
  repository: {
    url: null,
    name: "own",
    branch: "main",
    group: "default",
    policyPath: "policy.json",
    caFile: null,
    pinnedKeys: [],
    proxy: null,
    username: "x-access-token",
    tokenFile: null,
    timeoutMs: 30_000,
    maxPackBytes: 16 * 1024 * 1024,
  },
  poll: { schedule: "*/30 * * * * *", jitterMs: 5_000, staleAfterMs: 900_000 },
  trust: {
    mode: "manifest",
    insecure: false,
    revokedFile: null,
    maxAgeS: null,
    graceS: 86_400,
    whenExpired: "keep",
    whenRevoked: "keep",
    keepLabels: [],
  },
  dns: {
    upstreamPort: 53,
    validation: "auto",
    trustAnchorsFile: null,
    namedPort: 5453,
    controlPort: 9953,
    user: "bind",
  },
  gate: { port: 5353, user: "clawgress", maxPinsPerClient: 16_384, maxNamesPerClient: 4_096, maxQueriesPerS: 1_000 },
  records: { maxBytes: 16 * 1024 * 1024 },
  proxy: {
    user: "clawgress-proxy",
    httpsPort: 5443,
    httpPort: 5480,
    relayPort: 5490,
    maxConnections: 4_096,
    maxConnectionsPerClient: 512,
  },
  decisions: { maxRows: 1_000_000, maxBytes: 256 * 1024 * 1024, maxAgeS: 7 * 86_400 },
  api: {
    address: "127.0.0.1",
    port: null,
    tls: null,
    user: "clawgress-api",
    maxBodyBytes: 1024 * 1024,
    requestsPerMinute: 300,
    webhookSecretFile: null,
  },
  health: { confirmTimeoutMs: 30_000, namespace: "clawgress-probe" },
  drift: { response: "heal" },
  forgeApi: { github: "https://api.github.com", gitlab: "https://gitlab.com/api/v4", gitea: "" },
  paths: DEFAULT_PATHS,
} as const;

/** What `compile` takes when it is given no agent.json: every default, and a resolver address that only documents itself. */
export const defaultCompileSettings: Pick<Settings, "dns" | "proxy" | "health" | "hosts"> = {
  dns: { ...defaults.dns, upstreams: ["192.0.2.53"] },
  proxy: defaults.proxy,
  health: { ...defaults.health, probes: [] },
  hosts: {},
};

function fillDefaults(raw: RawSettings, report: Report): Settings {
  const repository = { ...defaults.repository, ...raw.repository };
  const paths = { ...defaults.paths, ...raw.paths };
  const api = { ...defaults.api, ...raw.api };
  return {
    version: 1,
    gateway: raw.gateway,
    repository: {
      ...repository,
      url: repository.url === null ? null : withoutSlash(repository.url),
      // Nothing secret of the first server goes to another one.
      mirrors: (raw.repository?.mirrors ?? []).map((mirror) => ({
        ...{ caFile: null, pinnedKeys: [], proxy: null, tokenFile: null, username: repository.username },
        ...mirror,
        url: withoutSlash(mirror.url),
      })),
    },
    poll: { ...defaults.poll, ...raw.poll },
    trust: { ...defaults.trust, ...raw.trust, root: raw.trust?.root ?? ownRepositoryPaths(paths.state).root },
    interfaces: raw.interfaces,
    nat: raw.nat ?? "masquerade",
    hosts: parseBindings(raw.hosts ?? {}),
    lifeline: parseLifeline(raw.lifeline ?? [], report),
    dns: { ...defaults.dns, ...raw.dns, upstreams: parseAddresses(raw.dns.upstreams, report) },
    gate: { ...defaults.gate, ...raw.gate },
    records: { ...defaults.records, ...raw.records },
    proxy: { ...defaults.proxy, ...raw.proxy },
    decisions: { ...defaults.decisions, ...raw.decisions },
    api: { ...api, metrics: raw.api?.metrics ?? (isLoopback(api) ? "open" : "key") },
    health: {
      ...defaults.health,
      ...raw.health,
      probes: (raw.health?.probes ?? []).map((probe, index) => parseProbe(probe, index, report)),
    },
    updates: { windows: parseWindows(raw.updates?.windows ?? [], report) },
    drift: { ...defaults.drift, ...raw.drift },
    report: { forge: parseForge(raw.report ?? {}) },
    driver: raw.driver ?? "process",
    paths,
  };
}

function parseForge(raw: NonNullable<RawSettings["report"]>): ForgeSettings | null {
  // The schema lets one of them stand, and asks for the address where there is no usual one.
  for (const kind of ["github", "gitlab", "gitea"] as const) {
    const forge = raw[kind];
    if (forge === undefined) continue;
    return { kind, caFile: null, ...forge, api: withoutSlash(forge.api ?? defaults.forgeApi[kind]) };
  }
  return null;
}

function withoutSlash(url: string): string {
  return url.replace(/\/+$/, "");
}

function parseWindows(written: readonly WindowDocument[], report: Report): readonly Hours[] {
  return written.flatMap((window, index) => {
    const hours = hoursOf(window);
    if (hours !== null) return [hours];
    report(`/updates/windows/${index}/tz`, `${window.tz} is no time zone`, TIME_ZONE_REMEDY);
    return [];
  });
}

function parseBindings(raw: NonNullable<RawSettings["hosts"]>): Settings["hosts"] {
  const bindings = Object.entries(raw).map(([host, binding]) => {
    const mac = binding.mac === undefined ? null : binding.mac.toLowerCase();
    return [host, { interface: binding.interface ?? null, mac }] as const;
  });
  return Object.fromEntries(bindings);
}

function parseLifeline(texts: readonly string[], report: Report): readonly Cidr[] {
  return texts.flatMap((text, index) => {
    const parsed = parseCidr(text);
    if (parsed.ok) return [parsed.value];
    report(`/lifeline/${index}`, parsed.message, parsed.remedy);
    return [];
  });
}

function parseAddresses(texts: readonly string[], report: Report): readonly string[] {
  for (const [index, text] of texts.entries()) {
    if (isIP(text) !== 0 && !text.includes("%")) continue;
    report(`/dns/upstreams/${index}`, `${quoteText(text)} is no address`, "write an IPv4 or IPv6 address, not a name");
  }
  return texts;
}

function parseProbe(raw: RawProbe, index: number, report: Report): ProbeSettings {
  const domain = parseDomainName(raw.to);
  if (!domain.ok) report(`/health/probes/${index}/to`, domain.message, domain.remedy);
  if (raw.type === "tcp" && raw.port === undefined) {
    report(`/health/probes/${index}`, "a tcp probe needs a port", 'add "port": 443');
  }
  return {
    name: raw.name,
    type: raw.type,
    from: raw.host === undefined ? { gateway: true } : { host: raw.host },
    to: domain.ok ? domain.value : (raw.to as DomainName),
    port: raw.port ?? (raw.type === "tls" ? 443 : null),
    expect: raw.expect ?? "allow",
    timeoutMs: raw.timeoutMs ?? 2_000,
    attempts: raw.attempts ?? 2,
  };
}

/** A remote repository is named and judged by a root that came another way; the gateway's own one needs neither. */
function checkRepository(raw: RawSettings, report: Report): void {
  if (raw.repository?.url === undefined) return;
  if (raw.repository.name === undefined) {
    report("/repository", "a repository with a url needs a name", 'add "name": the opaque name that its lock carries');
  }
  if (raw.trust?.root === undefined) {
    const remedy = 'add "trust": { "root": FILE }, a copy of trust/1.json that did not come through the Git server';
    report(raw.trust === undefined ? "" : "/trust", "a repository with a url needs a root of trust", remedy);
  }
}

function isLoopback({ address }: { readonly address: string }): boolean {
  return address === "::1" || (isIP(address) === 4 && address.startsWith("127."));
}

function checkApi({ api, dns, gate, proxy }: Settings, report: Report): void {
  if (["root", "0", dns.user, gate.user, proxy.user].includes(api.user)) {
    report(
      "/api/user",
      `${quoteText(api.user)} runs something else`,
      "name a user without other use: it serves strangers",
    );
  }
  if (isIP(api.address) === 0 || api.address.includes("%")) {
    report("/api/address", `${quoteText(api.address)} is no address`, "write an IPv4 or IPv6 address, not a name");
  } else if (api.port !== null && !isLoopback(api) && api.tls === null) {
    const remedy = "name certificateFile and keyFile in api.tls, or listen on 127.0.0.1 behind a proxy that has them";
    report("/api/address", `keys would cross the network in clear on ${api.address}`, remedy);
  }
}

/** Rules between keys that a schema cannot say. */
function checkTogether(settings: Settings, report: Report): void {
  const { interfaces, dns, gate, proxy, health } = settings;
  const both = interfaces.clients.filter((name) => interfaces.upstream.includes(name));
  for (const name of both)
    report("/interfaces", `${name} is a client and an upstream interface`, "name it in one list only");

  for (const [host, binding] of Object.entries(settings.hosts)) {
    if (binding.interface === null || interfaces.clients.includes(binding.interface)) continue;
    const remedy = `name one of ${interfaces.clients.join(", ")}`;
    report(`/hosts/${host}/interface`, `${binding.interface} is no client interface`, remedy);
  }

  const ports = new Map([[dns.namedPort, "dns.namedPort"]]);
  for (const [pointer, port] of [
    ["/dns/controlPort", dns.controlPort],
    ["/gate/port", gate.port],
    ["/proxy/httpsPort", proxy.httpsPort],
    ["/proxy/httpPort", proxy.httpPort],
    ["/proxy/relayPort", proxy.relayPort],
  ] as const) {
    const other = ports.get(port);
    if (other !== undefined) report(pointer, `port ${port} is also ${other}`, "choose another free port");
    ports.set(port, pointer.slice(1).replace("/", "."));
  }
  if (dns.validation === "yes" && dns.trustAnchorsFile === null) {
    report("/dns", 'validation "yes" needs trustAnchorsFile', 'name the file, or write "auto"');
  }
  const names = health.probes.map((probe) => probe.name);
  for (const [index, name] of names.entries()) {
    if (names.indexOf(name) < index)
      report(`/health/probes/${index}/name`, `a probe is named ${name} already`, "give it another name");
  }
  const hosts = new Set(health.probes.flatMap((probe) => ("host" in probe.from ? [probe.from.host] : [])));
  if (hosts.size > MAX_PROBE_HOSTS - 1) {
    report(
      "/health/probes",
      `${hosts.size} different hosts`,
      `probe as at most ${MAX_PROBE_HOSTS - 1} different hosts`,
    );
  }
  const longestMs = Math.max(0, ...health.probes.map((probe) => probe.timeoutMs * probe.attempts * 3));
  if (longestMs >= health.confirmTimeoutMs) {
    const remedy =
      "raise health.confirmTimeoutMs, or lower timeoutMs and attempts of the probes (each does up to three steps)";
    report(
      "/health",
      `the probes can take ${longestMs} ms, the change must be confirmed in ${health.confirmTimeoutMs} ms`,
      remedy,
    );
  }
}
