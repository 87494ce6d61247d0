import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Measures } from "../../agent/decisions/group-decisions.ts";
import type { Telemetry, TelemetryRow } from "../../agent/decisions/telemetry.ts";
import type { ClientNode } from "../lab/addresses.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/processes.ts";
import { eventually } from "../support/eventually.ts";
import { API_UID, setUpGateway, type TestGateway } from "../support/gateway.ts";

/**
 * What telemetry says beside what 20 clients did: 10,000 random questions and connections, each remembered with its
 * outcome by who made it, and their bytes as the clients' own machines count them.
 */

const OPERATIONS = 10_000;
const FIRST_BATCH = 600;
const AT_ONCE = 24;
const API_PORT = 8420;
const PORTS = [80, 81, 443, 8443] as const;
const allowed = ["a.allowed.test", "b.allowed.test", "www.allowed.test", "api.allowed.test"] as const;
const denied = Array.from({ length: 40 }, (_, index) => `n${index}.denied.test`);

interface Source {
  readonly address: string;
  readonly node: ClientNode;
  /** As telemetry calls it: the host entry, or the address of who is in none. */
  readonly agent: string;
}

const sources: readonly Source[] = Array.from({ length: 20 }, (_, index) => {
  const address = `10.82.${index % 2}.${10 + index}`;
  return { address, node: index % 2 === 0 ? "agent1" : "agent2", agent: index < 10 ? `host-${index}` : address };
});

/** What was done, as whoever did it saw it. */
interface Done {
  readonly source: Source;
  readonly what: "query" | "denied-query" | "connection" | "denied-packet";
  readonly name: string | null;
  readonly type: string | null;
  readonly destination: string | null;
  readonly port: number | null;
  readonly protocol: string | null;
}

const done: Done[] = [];
let lab: Lab;
let gateway: TestGateway;
let agent: LabProcess;

beforeAll(async () => {
  lab = await startLab();
  for (const { address, node } of sources) {
    await lab.execChecked(node, ["ip", "address", "add", `${address}/32`, "dev", "lo"]);
    await lab.execChecked("gateway", ["ip", "route", "add", address, "via", lab.addresses[node as "agent1"].v4]);
  }
  for (const node of ["agent1", "agent2"] as const) await lab.execChecked(node, ["nft", "-f", "-"], { stdin: truth });
  const hosts = sources
    .filter(({ agent: name, address }) => name !== address)
    .map(({ agent: name, address }) => [name, { sources: [`${address}/32`] }] as const);
  gateway = await setUpGateway(lab, {
    policy: {
      version: 1,
      allow: { domains: [...allowed], ports: [443] },
      labels: { "a.allowed.test": "first" },
      hosts: Object.fromEntries(hosts),
    },
    config: { gate: { user: "64053", maxQueriesPerS: 100_000 }, api: { user: API_UID, port: API_PORT } },
  });
  agent = gateway.start();
  await gateway.awaitStatus(await gateway.head(), ["success"]);
  await eventually(
    "telemetry answers",
    async () => (await gateway.clawgress(["telemetry", "--config", gateway.configFile])).exitCode === 0,
  );
});

afterAll(async () => {
  await agent?.kill("SIGTERM");
  await lab?.stop();
});

/** The clients' own count of what leaves for the internet and comes back, by source and far port. */
const truth = `table ip truth {
  set up { type ipv4_addr . inet_service; size 65535; flags dynamic; }
  set down { type ipv4_addr . inet_service; size 65535; flags dynamic; }
  chain leaving { type filter hook output priority 0; policy accept; ip daddr 203.0.113.0/24 update @up { ip saddr . tcp dport counter } }
  chain coming { type filter hook input priority 0; policy accept; ip saddr 203.0.113.0/24 update @down { ip daddr . tcp sport counter } }
}
`
  .replaceAll("; ip ", ";\n    ip ")
  .replaceAll(" } }", " }\n  }");

let seed = 7;
const random = (below: number): number => {
  seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff;
  return Math.floor((seed / 0x8000_0000) * below);
};
const pick = <Item>(items: readonly Item[]): Item => items[random(items.length)] as Item;

async function query(source: Source, name: string, type: string): Promise<void> {
  const result = await lab.client(source.node).resolve(name, { source: source.address, type });
  if (result.outcome !== "answer") throw new Error(`${name}: ${JSON.stringify(result)}`);
  const what = result.rcode === "NOERROR" ? "query" : "denied-query";
  done.push({ source, what, name, type, destination: null, port: null, protocol: null });
}

async function connect(source: Source, destination: string, port: number): Promise<void> {
  const result = await lab
    .client(source.node)
    .connect(destination, port, { source: source.address, timeoutMs: 10_000 });
  const what = result.outcome === "connected" ? "connection" : "denied-packet";
  if (result.outcome !== "connected" && result.outcome !== "refused") throw new Error(JSON.stringify(result));
  done.push({ source, what, name: null, type: null, destination, port, protocol: "tcp" });
}

async function operate(): Promise<void> {
  const source = pick(sources);
  const name = pick(allowed);
  const [address = ""] = lab.names[name].v4;
  const kind = random(10);
  if (kind < 2) await query(source, name, pick(["A", "AAAA"]));
  else if (kind < 5) await query(source, pick(denied), pick(["A", "AAAA", "TXT"]));
  else if (kind < 8) await connect(source, address, 443);
  else
    await connect(
      source,
      kind === 8 ? address : pick(lab.names["www.denied.test"].v4),
      pick(PORTS.filter((port) => port !== 443)),
    );
}

async function operateAll(count: number): Promise<void> {
  let left = count;
  const worker = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await operate();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function telemetry(...argv: readonly string[]): Promise<Telemetry> {
  const result = await gateway.clawgress(["telemetry", ...argv, "--json", "--config", gateway.configFile]);
  expect(result.exitCode, result.stderr).toBe(0);
  return JSON.parse(result.stdout) as Telemetry;
}

/** Counted apart, since only these are what whoever did it knows. */
type Counts = Pick<Measures, "queries" | "queriesDenied" | "connections" | "packetsDenied">;

function countDone(which: (one: Done) => boolean = () => true): Counts {
  const of = (what: Done["what"]): number => done.filter((one) => one.what === what && which(one)).length;
  return {
    queries: of("query"),
    queriesDenied: of("denied-query"),
    connections: of("connection"),
    packetsDenied: of("denied-packet"),
  };
}

function pickCounts({ queries, queriesDenied, connections, packetsDenied }: Measures): Counts {
  return { queries, queriesDenied, connections, packetsDenied };
}

/** The kernel tells the last packets of a flood up to two looks later. */
async function settled(window: string): Promise<Telemetry> {
  const wanted = JSON.stringify(countDone());
  await eventually(
    "every decision is counted",
    async () => JSON.stringify(pickCounts((await telemetry("agents", "--window", window)).totals)) === wanted,
  ).catch(() => {
    // The comparison below says which figure is not what it should be.
  });
  return await telemetry("agents", "--window", window);
}

test("the window of a minute: each figure is what was done", async () => {
  // Every client once for every name, so that what it connects to is open.
  for (const source of sources) for (const name of allowed) await query(source, name, "A");
  await operateAll(FIRST_BATCH);
  const { totals, complete } = await settled("1m");
  expect(pickCounts(totals)).toEqual(countDone());
  expect(complete).toBe(false);
});

describe("after 10,000", () => {
  let all: Telemetry;
  beforeAll(async () => {
    await operateAll(OPERATIONS - done.length);
    all = await settled("24h");
  }, 180_000);

  test("the windows agree with what was done", async () => {
    expect(done).toHaveLength(OPERATIONS);
    expect(pickCounts(all.totals)).toEqual(countDone());
    for (const window of ["5m", "1h"])
      expect(pickCounts((await telemetry("agents", "--window", window)).totals), window).toEqual(countDone());
  });

  test("agents: each client, and nobody else", () => {
    const byAgent = new Map(all.rows.map((row) => [row.by["agent"], row]));
    expect([...byAgent.keys()].sort()).toEqual(sources.map(({ agent: name }) => name).sort());
    for (const { agent: name } of sources) {
      expect(pickCounts(byAgent.get(name) as TelemetryRow), name).toEqual(
        countDone(({ source }) => source.agent === name),
      );
    }
  });

  test("bytes: what the clients' machines counted", async () => {
    const up = new Map<string, number>();
    const down = new Map<string, number>();
    for (const node of ["agent1", "agent2"] as const) {
      for (const [set, sums] of [
        ["up", up],
        ["down", down],
      ] as const) {
        const text = await lab.execChecked(node, ["nft", "-j", "list", "set", "ip", "truth", set]);
        for (const { elem } of elementsOf(text)) {
          const [address, port] = elem.val.concat;
          if (port === 443) sums.set(address, (sums.get(address) ?? 0) + elem.counter.bytes);
        }
      }
    }
    for (const row of all.rows) {
      const source = sources.find(({ agent: name }) => name === row.by["agent"]);
      expect(row.bytesUp, source?.agent).toBe(up.get(source?.address ?? ""));
      expect(row.bytesDown, source?.agent).toBe(down.get(source?.address ?? ""));
    }
  });

  test("domains, and one of them by agent", async () => {
    const { rows } = await telemetry("domains", "--window", "24h");
    const byName = new Map(rows.map((row) => [row.by["domain"], row]));
    for (const name of [...allowed, ...denied]) {
      const { queries, queriesDenied } = byName.get(name) as TelemetryRow;
      const wanted = countDone((one) => one.name === name);
      expect({ queries, queriesDenied }, name).toEqual({
        queries: wanted.queries,
        queriesDenied: wanted.queriesDenied,
      });
    }
    // Connections belong to the name that led there.
    const connections = rows.reduce((sum, row) => sum + row.connections, 0);
    expect(connections).toBe(countDone().connections);
    const [name = ""] = denied;
    const one = await telemetry("domain", name, "--window", "24h");
    for (const row of one.rows) {
      const wanted = countDone(
        (each) => each.name === name && each.source.agent === row.by["agent"] && each.type === row.by["type"],
      );
      expect(pickCounts(row)).toEqual(wanted);
    }
    expect(pickCounts(one.totals)).toEqual(countDone((each) => each.name === name));
  });

  test("one agent, and the denials of everybody by destination and port", async () => {
    const [first] = sources;
    const one = await telemetry("agent", first?.agent ?? "", "--window", "24h");
    expect(pickCounts(one.totals)).toEqual(countDone(({ source }) => source === first));
    const denies = await telemetry("denies", "--window", "24h");
    const { connections, queries, ...deniedOnly } = countDone();
    expect(pickCounts(denies.totals)).toEqual({ connections: 0, queries: 0, ...deniedOnly });
    expect(denies.rows.length + denies.rowsLeftOut).toBeGreaterThan(1_000);
    // Every kind of decision, where the other views show the thousand largest.
    const { rows } = await telemetry("export", "--window", "24h");
    const packets = rows.filter((row) => row.by["plane"] === "ip" && row.by["verdict"] === "deny");
    const sums = new Map<string, number>();
    for (const { by, packetsDenied } of packets) {
      const id = `${by["host"] ?? by["client"]} ${by["destination"]} ${by["port"]}`;
      sums.set(id, (sums.get(id) ?? 0) + packetsDenied);
    }
    const wanted = new Map<string, number>();
    for (const { what, source, destination, port } of done) {
      const id = `${source.agent} ${destination} ${port}`;
      if (what === "denied-packet") wanted.set(id, (wanted.get(id) ?? 0) + 1);
    }
    expect(new Map([...sums].sort())).toEqual(new Map([...wanted].sort()));
  });

  test("metrics: questions by type and verdict, decisions by reason, connections and bytes by host", async () => {
    const text = await lab.execChecked("gateway", ["curl", "-sS", `http://127.0.0.1:${API_PORT}/metrics`]);
    const told = (metric: string): ReadonlyMap<string, number> =>
      new Map(
        [...text.matchAll(new RegExp(`^clawgress_${metric}\\{(.*)\\} (\\d+)$`, "gm"))].map(([, labels = "", value]) => [
          labels,
          Number(value),
        ]),
      );
    const wanted = (labelsOf: (one: Done) => string | null): ReadonlyMap<string, number> => {
      const counts = new Map<string, number>();
      for (const labels of done.flatMap((one) => labelsOf(one) ?? []))
        counts.set(labels, (counts.get(labels) ?? 0) + 1);
      return counts;
    };
    const sorted = (counts: ReadonlyMap<string, number>) => [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
    const hostOf = ({ agent: name, address }: Source): string => (name === address ? "" : name);
    const queries = wanted(({ what, type }) =>
      type === null ? null : `verdict="${what === "query" ? "allow" : "deny"}",qtype="${type}"`,
    );
    expect(sorted(told("dns_queries_total"))).toEqual(sorted(queries));
    const connections = wanted(({ what, source }) => (what === "connection" ? `host="${hostOf(source)}"` : null));
    expect(sorted(told("connections_total"))).toEqual(sorted(connections));
    const decisions = (plane: string, verdict: string): ReadonlyMap<string, number> => {
      const counts = new Map<string, number>();
      for (const [labels, count] of told("decisions_total")) {
        const host = new RegExp(`^plane="${plane}",verdict="${verdict}",reason="[a-z-]+",(host=".*")$`).exec(
          labels,
        )?.[1];
        if (host !== undefined) counts.set(host, (counts.get(host) ?? 0) + count);
      }
      return counts;
    };
    for (const [what, plane, verdict] of [
      ["query", "dns", "allow"],
      ["denied-query", "dns", "deny"],
      ["connection", "ip", "allow"],
      ["denied-packet", "ip", "deny"],
    ] as const) {
      const own = wanted((one) => (one.what === what ? `host="${hostOf(one.source)}"` : null));
      expect(sorted(decisions(plane, verdict)), what).toEqual(sorted(own));
    }
    const bytes = new Map<string, number>();
    for (const { by, bytesUp, bytesDown } of all.rows) {
      for (const [direction, count] of Object.entries({ up: bytesUp, down: bytesDown })) {
        const labels = `host="${by["host"] ?? ""}",direction="${direction}"`;
        bytes.set(labels, (bytes.get(labels) ?? 0) + count);
      }
    }
    expect(sorted(told("bytes_total"))).toEqual(sorted(bytes));
    expect([...told("dns_queries_total").values()].reduce((sum, count) => sum + count, 0)).toBeGreaterThan(4_000);
  });

  test("stats says the same, and redaction hides who asked for what without changing a sum", async () => {
    const stats = await gateway.clawgress(["stats", "--config", gateway.configFile]);
    const { queriesDenied, packetsDenied } = countDone();
    expect(stats.stdout).toMatch(new RegExp(`^denied in the last 24h .*: ${queriesDenied + packetsDenied}$`, "m"));
    const hidden = await telemetry("export", "--window", "24h", "--redact");
    expect(pickCounts(hidden.totals)).toEqual(countDone());
    const text = JSON.stringify(hidden.rows);
    for (const { address } of sources) expect(text).not.toContain(`"${address}"`);
    for (const name of denied) expect(text).not.toContain(name);
  });

  test("a gate, an API and an agent that are killed lose nothing that was counted", async () => {
    for (const name of ["gate", "api"]) {
      const pid = readFileSync(join(gateway.folder, "run", `${name}.pid.json`), "utf8");
      process.kill((JSON.parse(pid) as { pid: number }).pid, "SIGTERM");
    }
    await agent.kill("SIGKILL");
    agent = gateway.start();
    await eventually(
      "telemetry is back",
      async () => (await gateway.clawgress(["telemetry", "--config", gateway.configFile])).exitCode === 0,
    );
    expect(pickCounts((await telemetry("agents", "--window", "24h")).totals)).toEqual(countDone());
  });
});

interface Element {
  readonly elem: {
    readonly val: { readonly concat: readonly [string, number] };
    readonly counter: { readonly bytes: number };
  };
}

function elementsOf(text: string): readonly Element[] {
  const { nftables } = JSON.parse(text) as {
    nftables: readonly { readonly set?: { readonly elem?: readonly Element[] } }[];
  };
  return nftables.flatMap(({ set }) => set?.elem ?? []);
}
