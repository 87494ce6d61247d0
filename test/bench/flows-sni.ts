import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Lab, startLab } from "../lab/lab.ts";
import { waitForOutput } from "../lab/services.ts";
import { clientHello } from "../support/client-hello.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway } from "../support/gateway.ts";
import { openGateway } from "../support/open-gateway.ts";
import type { Measure, Row } from "./row.ts";
import { median } from "./statistics.ts";
import { CONNECTORS, shortenMemory, shuffle, storm } from "./storm.ts";
import { workerArgv } from "./worker.ts";

/** Where connections for the small name end, and uploads for the other. */
const NAME = "a.allowed.test";
const BULK_NAME = "b.allowed.test";
const ACCEPT_PORT = 9_443;
const BARE_PORT = 8_443;

/** What the internet side does with what is dialled at the small name: a server that costs next to nothing. */
const redirect = (address: string): string => `table ip bench {
  chain pre {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr ${address} tcp dport 443 dnat to ${address}:${ACCEPT_PORT}
  }
}
`;

/** What somebody would write who wants a list of server names and nothing else: one list for all, one server behind. */
const bareProxy = (listFile: string, far: { readonly [name: string]: string }): string => `global
  maxconn 8000
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend tls
  bind :${BARE_PORT}
  tcp-request inspect-delay 5s
  tcp-request content accept if { req.ssl_hello_type 1 } { req.ssl_sni -i -f ${listFile} }
  tcp-request content reject
${Object.keys(far)
  .map((name, index) => `  use_backend far${index} if { req.ssl_sni -i ${name} }`)
  .join("\n")}
${Object.values(far)
  .map((address, index) => `backend far${index}\n  server far ${address}:443`)
  .join("\n")}
`;

/** New TLS connections a second by server name, and bulk throughput, in SNI mode, beside an open gateway and a bare proxy. */
export const measureFlowsSni: Measure = async ({ quick, say }) => {
  const [rounds, forMs, names] = quick ? [1, 300, 20] : [7, 500, 10_000];
  const labs: Lab[] = [];
  const raise = async (prepare: (lab: Lab) => Promise<void>): Promise<Lab> => {
    const lab = await startLab();
    labs.push(lab);
    await shortenMemory(lab);
    await lab.execChecked("gateway", ["nft", "flush", "ruleset"]);
    await lab.execChecked("internet", ["nft", "-f", "-"], { stdin: redirect(addressOf(lab, NAME)) });
    const argv = workerArgv("accept", { port: ACCEPT_PORT, answers: true });
    await waitForOutput(lab.spawn("internet", argv), "listening", "the acceptor");
    await prepare(lab);
    return lab;
  };
  try {
    const variants = [
      { name: "unfiltered", lab: await raise(openGateway) },
      { name: "bare proxy", lab: await raise((lab) => raiseBareProxy(lab, names)) },
      { name: "ours", lab: await raise((lab) => raiseOurs(lab, names)) },
    ];
    const rates = new Map<string, number[]>(variants.map(({ name }) => [name, []]));
    const bulk = new Map<string, number[]>(variants.map(({ name }) => [name, []]));
    const hello = clientHello({ names: [NAME] }).toString("base64");
    for (let round = 0; round < rounds; round += 1) {
      say(`round ${round + 1} of ${rounds}`);
      for (const { name, lab } of shuffle(variants)) {
        const storming = { addresses: [addressOf(lab, NAME)], port: 443, forMs, hello };
        rates.get(name)?.push(await storm(lab, storming));
        bulk.get(name)?.push(await bulkKbps(lab, forMs));
      }
    }
    const list = `${names.toLocaleString("en")} listed names`;
    const how = `${rounds} runs of ${forMs / 1000} s in turns, shuffled, median; ${CONNECTORS} processes connect, send a ClientHello, take one byte and reset; a gateway each, all on this machine's cores; the bare proxy: HAProxy with one list for all clients and a fixed server, ours: per client, the server resolved for each connection`;
    const bulkHow = `${rounds} uploads of one TLS flow for ${forMs / 1000} s each, as it is received, in the same runs, median`;
    const rows = (other: "unfiltered" | "bare proxy"): readonly Row[] => [
      {
        ...{ what: `new TLS connections, SNI mode, ${list}`, unit: "/s", goal: null, how },
        ...{ ours: median(rates.get("ours") ?? []), other: { what: other, value: median(rates.get(other) ?? []) } },
      },
      {
        ...{ what: `bulk throughput, SNI mode, ${list}`, unit: "kbit/s", goal: null, how: bulkHow },
        ...{ ours: median(bulk.get("ours") ?? []), other: { what: other, value: median(bulk.get(other) ?? []) } },
      },
    ];
    return [...rows("unfiltered"), ...rows("bare proxy")];
  } finally {
    for (const lab of labs) await lab.stop();
  }
};

function addressOf(lab: Lab, name: typeof NAME | typeof BULK_NAME): string {
  return lab.names[name].v4[0] ?? "";
}

const listed = (count: number): readonly string[] => [
  ...[NAME, BULK_NAME, "health.allowed.test"],
  ...Array.from({ length: count - 3 }, (_, index) => `host-${index}.example.com`),
];

async function raiseOurs(lab: Lab, names: number): Promise<void> {
  const allow = { domains: listed(names), ports: [443] };
  const gateway = await setUpGateway(lab, { policy: { version: 1, allow, proxy: { mode: "sni-allowlist" } } });
  gateway.start();
  await gateway.awaitStatus(await gateway.head(), ["success"]);
}

async function raiseBareProxy(lab: Lab, names: number): Promise<void> {
  const listFile = join(lab.folder, "bare-names");
  const file = join(lab.folder, "bare-proxy.cfg");
  await writeFile(listFile, `${listed(names).join("\n")}\n`);
  await writeFile(file, bareProxy(listFile, { [NAME]: addressOf(lab, NAME), [BULK_NAME]: addressOf(lab, BULK_NAME) }));
  await openGateway(lab);
  const nat = `table ip bare { chain pre { type nat hook prerouting priority dstnat; iifname { "lan0", "lan1" } tcp dport 443 redirect to :${BARE_PORT}; }; }`;
  await lab.execChecked("gateway", ["nft", "-f", "-"], { stdin: nat });
  lab.spawn("gateway", ["haproxy", "-f", file, "-db"], { logFile: join(lab.folder, "bare-proxy.log") });
  await eventually("the bare proxy listens", async () => {
    return (await lab.client("agent1").connect(addressOf(lab, NAME), 443)).outcome === "connected";
  });
}

/** @throws Error when there was no upload: then nothing was measured */
async function bulkKbps(lab: Lab, forMs: number): Promise<number> {
  const result = await lab
    .client("agent1")
    .upload(BULK_NAME, { web: true, port: 443, flows: 1, warmUpMs: 300, forMs, timeoutMs: 5_000 });
  if (result.outcome !== "connected") throw new Error(`no upload: ${JSON.stringify(result)}`);
  return result.kbps;
}
