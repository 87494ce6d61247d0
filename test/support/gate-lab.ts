import { type ChildProcess, spawn } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { compile } from "../../agent/compile/compile.ts";
import { createGateControl, type GateControl } from "../../agent/gate/control-client.ts";
import { sleepMs } from "../../agent/host/clock.ts";
import { run, runChecked } from "../../agent/host/run.ts";
import type { Settings } from "../../agent/settings/settings.ts";
import { policyOf, settingsWith } from "./compile-samples.ts";

const ports = { gate: 5300, named: 5301, control: 5302, upstream: 5399 } as const;
export const CLIENT_A = "10.91.1.10";
export const CLIENT_B = "10.91.1.20";
export const CLIENT_6 = "fd91:1::10";
export const GATEWAY = "10.91.1.1";
const GATE_USER = "30002";

/** Zones of the internet: what the upstream resolver answers with authority. */
const UPSTREAM_ZONE = `$TTL 600
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
api A 198.51.100.10
api A 198.51.100.11
api AAAA 2001:db8:10::1
api TXT "hello"
api HTTPS 1 . alpn=h3 ipv4hint=198.51.100.66
api MX 10 mail
mail A 198.51.100.25
short 20 A 198.51.100.12
www CNAME edge.cdn
edge.cdn CNAME e9.cdn2
e9.cdn2 A 198.51.100.20
shared-a A 198.51.100.30
shared-b A 198.51.100.30
x.wild A 198.51.100.40
y.wild A 198.51.100.41
deep.y.wild A 198.51.100.42
private A 10.1.2.3
covered A 10.7.0.1
loop A 127.0.0.1
meta A 169.254.169.254
mixed A 198.51.100.50
mixed A 192.168.1.1
nat64 AAAA 64:ff9b::a01:203
mapped AAAA ::ffff:10.1.2.3
own A ${GATEWAY}
${Array.from({ length: 90 }, (_, index) => `big A 203.0.113.${index + 1}`).join("\n")}
secret A 198.51.100.99
*.evil A 198.51.100.98
`;

export interface GateLab {
  readonly folder: string;
  readonly control: GateControl;
  /** Runs a program on the gateway or on the client. */
  onGateway(argv: readonly [string, ...string[]], stdin?: string): Promise<string>;
  onClient(argv: readonly [string, ...string[]]): Promise<string>;
  /** Returns what dig prints (header, EDE, answers) for arguments after the server. */
  dig(args: readonly string[], from?: string): Promise<string>;
  startGate(): Promise<void>;
  /** Kills with SIGKILL. */
  killGate(): Promise<void>;
  /** Asks it to end and returns its exit code. */
  stopGate(): Promise<number | null>;
  /** Compiles a policy, publishes its zones to named, loads its maps, and puts it in force in the gate. */
  apply(policy: object, serial: number): Promise<string>;
  /** Names that the upstream was asked since the last call, canaries excepted. */
  upstreamQueries(): Promise<readonly string[]>;
  pins(): Promise<readonly string[]>;
  live(): Promise<readonly string[]>;
  /** Lines of the deny records. */
  denials(): Promise<readonly { readonly [key: string]: unknown }[]>;
  stop(): Promise<void>;
}

/** Returns a lab of two network namespaces: a client, and a gateway with gate, named, the policy's table, and an upstream resolver. */
export async function startGateLab(): Promise<GateLab> {
  const id = `cgg${process.pid}`;
  const [gateway, client] = [`${id}g`, `${id}c`];
  const folder = await mkdtemp(join(tmpdir(), "clawgress-gate-"));
  await chmod(folder, 0o755);
  const children: ChildProcess[] = [];
  let gate: ChildProcess | null = null;
  let seenQueries = 0;
  const base = settingsWith([], {
    upstreams: ["127.0.0.1"],
    upstreamPort: ports.upstream,
    namedPort: ports.named,
    controlPort: ports.control,
    user: "root",
  });
  const settings = {
    ...base,
    gateway: "lab",
    records: { maxBytes: 1024 * 1024 },
    paths: { state: join(folder, "state"), run: join(folder, "run") },
  };
  const inside = (namespace: string, argv: readonly string[]): [string, ...string[]] => [
    "ip",
    "netns",
    "exec",
    namespace,
    ...argv,
  ];
  const onGateway = (argv: readonly string[], stdin = ""): Promise<string> =>
    runChecked(inside(gateway, argv), { timeoutMs: 20_000, stdin });
  const onClient = (argv: readonly string[]): Promise<string> =>
    runChecked(inside(client, argv), { timeoutMs: 60_000 });
  const start = (argv: readonly string[], cwd: string): ChildProcess => {
    const [program, ...args] = inside(gateway, argv);
    const child = spawn(program, args, { cwd, stdio: ["ignore", "inherit", "inherit"] });
    children.push(child);
    return child;
  };
  const control = createGateControl(join(folder, "run", "gate", "control.sock"));
  const awaitThat = async (what: string, isSo: () => Promise<boolean>): Promise<void> => {
    for (let tries = 0; tries < 300; tries++) {
      if (await isSo().catch(() => false)) return;
      await sleepMs(50);
    }
    throw new Error(`${what}: not within 15 s`);
  };

  await layCables(gateway, client);
  await mkdir(join(folder, "upstream"), { recursive: true });
  await mkdir(join(folder, "run", "named", "work"), { recursive: true });
  await mkdir(join(folder, "run", "gate"), { recursive: true });
  await mkdir(join(folder, "state", "gate"), { recursive: true });
  const own = [join(folder, "run", "gate"), join(folder, "state", "gate")] as const;
  await runChecked(["chown", "-R", `${GATE_USER}:${GATE_USER}`, ...own], { timeoutMs: 5000 });
  await writeFile(join(folder, "upstream", "test.zone"), UPSTREAM_ZONE);
  await writeFile(join(folder, "upstream", "named.conf"), upstreamConf());
  start(["named", "-f", "-c", "named.conf"], join(folder, "upstream"));
  await writeFile(
    join(folder, "run", "named", "rndc.key"),
    'key "clawgress" { algorithm hmac-sha256; secret "aGVsbG8gd29ybGQgaGVsbG8gd29ybGQ="; };\n',
  );
  await writeFile(join(folder, "settings.json"), JSON.stringify(settings));
  await build({
    stdin: {
      contents: `import { readFileSync } from "node:fs";
import { runGate } from "./agent/gate/gate.ts";
const say = (fields, text) => process.env.GATE_VERBOSE && console.error(JSON.stringify(fields), text);
await runGate(JSON.parse(readFileSync(process.argv[2], "utf8")), { info: say, warn: say, error: say });
process.exit(0);`,
      resolveDir: process.cwd(),
      loader: "ts",
    },
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    external: ["koffi"],
    outfile: join(folder, "gate.mjs"),
    logLevel: "warning",
  });
  await runChecked(["ln", "-s", join(process.cwd(), "node_modules"), join(folder, "node_modules")], {
    timeoutMs: 5000,
  });

  const isNamedStarted = (): boolean =>
    children.length > 1 && children.some((child) => child.spawnargs.includes("../gw.conf"));
  const lab: GateLab = {
    folder,
    control,
    onGateway,
    onClient,
    dig: async (args, from = CLIENT_A) =>
      (await run(inside(client, ["dig", "-b", from, "+tries=1", "+time=6", ...args]), { timeoutMs: 30_000 })).stdout,
    startGate: async () => {
      const confine = ["setpriv", `--reuid=${GATE_USER}`, `--regid=${GATE_USER}`, "--clear-groups"];
      const caps = ["--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin", "--no-new-privs"];
      const program = ["node", join(folder, "gate.mjs"), join(folder, "settings.json")];
      gate = start([...confine, ...caps, ...program], "/");
      await awaitThat("the gate answers", async () => (await control.status()).pid === gate?.pid);
    },
    killGate: async () => {
      const child = gate;
      if (child === null) return;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
      gate = null;
    },
    stopGate: async () => {
      const child = gate;
      if (child === null) return null;
      const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      gate = null;
      return await ended;
    },
    apply: async (document, serial) => {
      const release = compile({ policy: policyOf(document), settings: settings as unknown as Settings });
      const target = join(folder, "state", "releases", release.digest);
      await mkdir(target, { recursive: true });
      for (const { path, bytes } of release.artifacts) await writeFile(join(target, path), bytes);
      const provenance = { commit: `${serial}`.padStart(40, "c"), serial, repository: "lab", approvedBy: [] };
      await writeFile(join(target, "provenance.json"), JSON.stringify(provenance));
      const named = join(folder, "run", "named");
      await runChecked(
        ["cp", join(target, "block.zone"), join(target, "allow.zone"), join(target, "deny.zone"), named],
        { timeoutMs: 5000 },
      );
      await runChecked(["cp", join(target, "named.conf"), join(named, "gw.conf")], { timeoutMs: 5000 });
      const rndc = ["rndc", "-k", "rndc.key", "-s", "127.0.0.1", "-p", `${ports.control}`];
      if (!isNamedStarted()) {
        start(["named", "-f", "-c", "../gw.conf"], join(named, "work"));
        await awaitThat("named answers", async () => {
          const status = await run(inside(gateway, [...rndc, "status"]), { timeoutMs: 5000, cwd: named });
          return status.exitCode === 0;
        });
      } else await runChecked(inside(gateway, [...rndc, "reload"]), { timeoutMs: 10_000, cwd: named });
      const digest = await control.prepare(target);
      await control.hold(10_000);
      await onGateway(["nft", "-f", join(target, "policy.nft")]);
      await control.activate(digest);
      await control.resume();
      await awaitThat("the gate is ready", async () => (await control.status()).ready);
      return digest;
    },
    upstreamQueries: async () => {
      await sleepMs(150);
      const text = await readFile(join(folder, "upstream", "queries.log"), "utf8").catch(() => "");
      const names = [...text.matchAll(/query: (\S+) IN (\S+)/g)].map(([, name, type]) => `${name} ${type}`);
      const fresh = names.slice(seenQueries);
      seenQueries = names.length;
      return fresh;
    },
    pins: async () => [
      ...(await listElements(onGateway, "map", "pin4")),
      ...(await listElements(onGateway, "map", "pin6")),
      ...(await listElements(onGateway, "map", "group_pin4")),
      ...(await listElements(onGateway, "map", "group_pin6")),
    ],
    live: () => listElements(onGateway, "set", "live"),
    denials: async () => {
      const text = await readFile(join(folder, "run", "gate", "deny.jsonl"), "utf8").catch(() => "");
      return text
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as { readonly [key: string]: unknown });
    },
    stop: async () => {
      for (const child of children) child.kill("SIGKILL");
      await sleepMs(100);
      await run(["ip", "netns", "del", client], { timeoutMs: 5000 });
      await run(["ip", "netns", "del", gateway], { timeoutMs: 5000 });
      await rm(folder, { recursive: true, force: true });
    },
  };
  return lab;
}

async function layCables(gateway: string, client: string): Promise<void> {
  const script = [
    ["ip", "netns", "add", gateway],
    ["ip", "netns", "add", client],
    ["ip", "-n", gateway, "link", "set", "lo", "up"],
    ["ip", "-n", client, "link", "set", "lo", "up"],
    ["ip", "link", "add", "lan0", "netns", gateway, "type", "veth", "peer", "name", "eth0", "netns", client],
    ["ip", "-n", gateway, "addr", "add", `${GATEWAY}/24`, "dev", "lan0"],
    ["ip", "-n", gateway, "addr", "add", "fd91:1::1/64", "dev", "lan0", "nodad"],
    ["ip", "-n", client, "addr", "add", `${CLIENT_A}/24`, "dev", "eth0"],
    ["ip", "-n", client, "addr", "add", `${CLIENT_B}/24`, "dev", "eth0"],
    ["ip", "-n", client, "addr", "add", `${CLIENT_6}/64`, "dev", "eth0", "nodad"],
    ["ip", "-n", gateway, "link", "set", "lan0", "up"],
    ["ip", "-n", client, "link", "set", "eth0", "up"],
    ["ip", "-n", client, "route", "add", "default", "via", GATEWAY],
    ["ip", "-n", client, "-6", "route", "add", "default", "via", "fd91:1::1"],
  ] as const;
  for (const argv of script) await runChecked([...argv], { timeoutMs: 5000 });
  const redirect = `table inet labnat { chain pre { type nat hook prerouting priority dstnat;
  iifname "lan0" udp dport 53 redirect to :${ports.gate}
  iifname "lan0" tcp dport 53 redirect to :${ports.gate}
}
}
`;
  await runChecked(["ip", "netns", "exec", gateway, "nft", "-f", "-"], { timeoutMs: 5000, stdin: redirect });
}

function upstreamConf(): string {
  return `options { directory "."; listen-on port ${ports.upstream} { 127.0.0.1; }; listen-on-v6 { none; };
  pid-file "pid"; session-keyfile none; recursion no; allow-query { any; }; dnssec-validation no; minimal-responses no; };
controls { };
logging { channel q { file "queries.log"; }; category queries { q; }; };
zone "test" { type primary; file "test.zone"; };
`;
}

async function listElements(
  onGateway: (argv: readonly [string, ...string[]]) => Promise<string>,
  kind: "map" | "set",
  name: string,
): Promise<readonly string[]> {
  const text = await onGateway(["nft", "-j", "list", kind, "inet", "clawgress", name]);
  const document = JSON.parse(text) as { nftables: { [key: string]: { elem?: unknown[] } }[] };
  const elements = document.nftables.find((entry) => entry[kind] !== undefined)?.[kind]?.elem ?? [];
  return elements.map((element) => {
    const [key, grant] = Array.isArray(element) ? (element as unknown[]) : [element, null];
    const plain = key as { concat?: unknown[]; elem?: { val: { concat: unknown[] } } };
    const concat = plain.concat ?? plain.elem?.val.concat ?? [];
    return grant === null ? concat.join(" ") : `${concat.join(" ")} ${String(grant)}`;
  });
}
