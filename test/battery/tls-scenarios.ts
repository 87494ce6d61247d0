import { dirname, join } from "node:path";
import { runChecked } from "../../agent/host/run.ts";
import type { HelloShape, TlsResult } from "../lab/client.ts";
import type { Lab } from "../lab/lab.ts";
import { packageRoot } from "../lab/processes.ts";
import { waitForOutput } from "../lab/services.ts";
import { eventually } from "../support/eventually.ts";
import { clientHello, ECH_EXTENSION, encryptedHello, type HelloParts } from "./client-hello.ts";
import { ODD_MACHINE, RELAY_MACHINE } from "./far-side.ts";
import { killForGood, startAgain, toldByStatus } from "./kill-part.ts";
import { type Attempt, each, gainedIf, insist, inVain, type Scenario, tried } from "./scenario.ts";
import type { Scene, StageOptions } from "./scene.ts";

/** WT…: what a client says in TLS and in plain HTTP, where the proxy judges names. */

export const tlsStage: StageOptions = async () => ({
  policy: {
    version: 1,
    allow: {
      domains: ["a.allowed.test", "api.allowed.test", "one.shared.test", "*.wild.test"],
      ports: [80, 443],
    },
    proxy: { mode: "sni-allowlist" },
  },
});

/** Where attacks are aimed: the address of denied.test. */
const ATTACKER = 40;
/** The address of api.allowed.test. */
const API = 13;
const attacker = (scene: Scene): string => scene.service(ATTACKER);
const nothingThere = (scene: Scene) => ({ packets: [{ to: attacker(scene) }] });
const connectAllowed = async (scene: Scene): Promise<void> => {
  insist("a.allowed.test:443", await scene.client.tls("a.allowed.test", 443, scene.by));
};

const dial = (scene: Scene, servername: string, hello?: HelloShape): Promise<TlsResult> =>
  scene.client.tls(attacker(scene), 443, { servername, timeoutMs: 5_000, ...(hello === undefined ? {} : { hello }) });

/** A fatal alert: whoever answers the hello closes after it. */
const goodbye = Buffer.from("15030300020228", "hex");

/** Sends a ClientHello of our own making to the attacker's address. */
const say = (scene: Scene, parts: HelloParts) =>
  scene.client.exchange(attacker(scene), 443, Buffer.concat([clientHello(parts), goodbye]), { timeoutMs: 3_000 });

const host = (name: Buffer | string) => ({ serverNames: [{ name }] });
const echOf = (bytes: number) => ({ type: ECH_EXTENSION, data: encryptedHello(bytes) });

export const tlsScenarios: readonly Scenario[] = [
  {
    id: "WT1",
    title: "a denied name on an address that it shares with an allowed one",
    attack: async (scene) => [
      tried("TLS", await scene.client.tls(scene.service(20), 443, { servername: "two.shared.test" })),
      tried("HTTP", await scene.client.get(scene.service(20), 80, { name: "two.shared.test" })),
    ],
    forbidden: (scene) => ({ packets: [{ to: scene.service(20) }] }),
    control: async (scene) => insist("one.shared.test", await scene.client.tls("one.shared.test", 443, scene.by)),
    records: () => [
      { plane: "tls", reason: "sni-not-allowed", name: "two.shared.test" },
      { plane: "http", reason: "host-not-allowed", name: "two.shared.test" },
    ],
  },
  {
    id: "WT2",
    title: "an allowed name, said to the attacker's address",
    attack: async (scene) => {
      await dial(scene, "a.allowed.test");
      await scene.client.get(attacker(scene), 80, { name: "a.allowed.test" });
      return [];
    },
    forbidden: nothingThere,
    control: async (scene) => {
      await connectAllowed(scene);
      // Who says an allowed name gets that name's own server, whatever was dialled.
      const { status, body } = {
        status: 0,
        body: "",
        ...(await scene.client.get(attacker(scene), 80, { name: "a.allowed.test" })),
      };
      const far = scene.gateway === null ? attacker(scene) : scene.service(10);
      if (status !== 200 || !body.includes(`from ${far}`)) throw new Error(`${status} ${body}`);
    },
    records: () => [{ plane: "tls", reason: "allowed", name: "a.allowed.test" }],
  },
  {
    id: "WT3",
    title: "no server name, an address, an empty or a broken one",
    attack: (scene) => {
      const hellos: readonly (readonly [what: string, parts: HelloParts])[] = [
        ["none", {}],
        ["an empty list", { serverNames: [] }],
        ["an empty name", host("")],
        ["an address", host(attacker(scene))],
        ["a NUL inside", host("a.allowed.test\0.denied.test")],
        ["a line break inside", host("a.allowed.test\r\nX: y")],
        ["a space at the end", host("a.allowed.test ")],
        ["another type of name", { serverNames: [{ type: 1, name: "a.allowed.test" }] }],
        ["two names, the denied one first", { serverNames: [{ name: "www.denied.test" }, { name: "a.allowed.test" }] }],
      ];
      return each(hellos, async ([what, parts]) => tried(what, await say(scene, parts)));
    },
    forbidden: nothingThere,
    control: async (scene) => {
      await connectAllowed(scene);
      if (scene.gateway !== null) insist("either case and a dot", await dial(scene, "A.Allowed.TEST."));
    },
    records: () => [
      { plane: "tls", reason: "sni-missing" },
      { plane: "tls", reason: "sni-malformed" },
    ],
  },
  {
    id: "WT4",
    title: "a ClientHello in pieces, over several records, and a large one",
    attack: (scene) =>
      each<HelloShape>(
        [{ segmentBytes: 1 }, { recordBytes: 1 }, { recordBytes: 511 - 5 }, { extraBytes: 12_000, segmentBytes: 700 }],
        // The time is the sender's own.
        async (hello) => ({ ...tried(JSON.stringify(hello), await dial(scene, "www.denied.test", hello)), ms: 0 }),
      ),
    forbidden: nothingThere,
    control: async (scene) => {
      for (const hello of [{ segmentBytes: 1 }, { extraBytes: 12_000, segmentBytes: 700 }]) {
        insist(
          JSON.stringify(hello),
          await scene.client.tls("a.allowed.test", 443, { ...scene.by, hello, timeoutMs: 5_000 }),
        );
      }
    },
    records: () => [
      { plane: "tls", reason: "sni-not-allowed", name: "www.denied.test" },
      { plane: "tls", reason: "hello-fragmented" },
    ],
  },
  {
    id: "WT5",
    title: "an encrypted ClientHello under a denied outer name",
    attack: (scene) =>
      each([0, 200, 2_000], async (bytes) =>
        tried(`${bytes} bytes`, await say(scene, { ...host("www.denied.test"), extensions: [echOf(bytes)] })),
      ),
    forbidden: nothingThere,
    control: async (scene) => {
      // GREASE, as browsers send it to everyone, does no harm.
      const answer = await say(scene, { ...host("a.allowed.test"), extensions: [echOf(200)] });
      insist("a hello with GREASE", answer);
    },
    records: () => [{ plane: "tls", reason: "sni-not-allowed", name: "www.denied.test" }],
  },
  {
    id: "WT7",
    title: "other protocols on 443, TLS on 80, a second request with another Host",
    attack: async (scene) => {
      const to = attacker(scene);
      const request = (name: string): string => `GET / HTTP/1.1\r\nHost: ${name}\r\n`;
      const both = `${request("a.allowed.test")}\r\n${request("www.denied.test")}Connection: close\r\n\r\n`;
      const pipelined = await scene.client.exchange(to, 80, both);
      const isServed = "data" in pipelined && pipelined.data.includes("hello www.denied.test");
      const odd = scene.service(ODD_MACHINE);
      const say = async (what: string, text: string): Promise<Attempt> =>
        tried(what, await scene.client.exchange(odd, 443, text));
      return [
        await say("HTTP on 443", `${request("a.allowed.test")}\r\n`),
        await say("SSH on 443", "SSH-2.0-x\r\n"),
        tried("TLS on 80", await scene.client.tls(odd, 80, { servername: "a.allowed.test" })),
        gainedIf("the second request is served", isServed, pipelined.ms),
      ];
    },
    forbidden: (scene) => ({ packets: [attacker(scene), scene.service(ODD_MACHINE)].map((to) => ({ to })) }),
    control: async (scene) => {
      await connectAllowed(scene);
      insist("plain HTTP", await scene.client.get("a.allowed.test", 80, scene.by));
    },
    records: () => [
      { plane: "tls", reason: "not-tls" },
      { plane: "http", reason: "host-not-allowed", name: "www.denied.test" },
    ],
  },
  {
    id: "WT8",
    title: "CONNECT, in plain HTTP, under the name of an allowed host",
    attack: async (scene) => {
      const to = scene.family === 4 ? attacker(scene) : `[${attacker(scene)}]`;
      // What follows is no TLS, so that the far end closes.
      const text = `CONNECT ${to}:443 HTTP/1.1\r\nHost: a.allowed.test\r\n\r\nhello\n`;
      return [
        tried("a relay", await scene.client.exchange(scene.service(RELAY_MACHINE), 80, text)),
        inVain(
          "the lab's web servers are no relays",
          tried("the allowed host itself", await scene.client.exchange(scene.service(10), 80, text)),
        ),
      ];
    },
    forbidden: (scene) => ({
      packets: [{ to: scene.service(RELAY_MACHINE) }, { to: scene.service(10), port: 80 }],
    }),
    control: connectAllowed,
    records: () => [{ plane: "http" }].map((record) => ({ ...record, reason: "http-malformed" })),
  },
  {
    id: "WT11",
    title: "client certificates, HTTP/2 with trailers and WebSocket: unchanged, and for listed names alone",
    attack: async (scene) => {
      const { http2 } = await callFar(scene, "www.signed.test");
      return [gainedIf("an unlisted name", http2 !== null)];
    },
    forbidden: (scene) => ({ packets: [{ to: scene.service(13) }] }),
    control: async (scene) => {
      const found = await callFar(scene, "api.allowed.test");
      const expected = { http2: "battery", trailer: "0", webSocket: "hi", error: null };
      if (JSON.stringify(found) !== JSON.stringify(expected)) throw new Error(JSON.stringify(found));
    },
    records: () => [{ plane: "tls", reason: "sni-not-allowed", name: "www.signed.test" }],
  },
  {
    id: "WT12",
    title: "the proxy is killed: nothing goes round it",
    attack: async (scene): Promise<readonly Attempt[]> => {
      const { client, by } = scene;
      const type = scene.family === 4 ? "A" : "AAAA";
      insist("api.allowed.test", await client.resolve("api.allowed.test", { server: by.resolver, type }));
      await killForGood(scene, "proxy");
      const [allowed, name] = [scene.service(API), "api.allowed.test"];
      return [
        tried("TLS to an allowed name", await client.tls(allowed, 443, { servername: name })),
        tried("HTTP to an allowed name", await client.get(allowed, 80, { name })),
        tried("TLS to a denied name", await client.tls(attacker(scene), 443, { servername: "www.denied.test" })),
        tried("HTTP to a denied name", await client.get(attacker(scene), 80, { name: "www.denied.test" })),
        await toldByStatus(scene, "the proxy does not run: 443 and 80 are closed"),
      ];
    },
    forbidden: (scene) => ({ packets: [attacker(scene), scene.service(API)].map((to) => ({ to })) }),
    control: async (scene) => {
      await startAgain(scene);
      await eventually("the proxy serves again", async () => {
        return (await scene.client.tls("api.allowed.test", 443, scene.by)).outcome === "connected";
      });
      await scene.client.tls(attacker(scene), 443, { servername: "www.denied.test" });
    },
    // A dead proxy writes none; the one that comes after it does.
    records: () => [
      { plane: "tls", verdict: "allow", reason: "allowed", name: "api.allowed.test" },
      { plane: "tls", verdict: "deny", reason: "sni-not-allowed", name: "www.denied.test" },
    ],
  },
];

interface FarCall {
  readonly http2: string | null;
  readonly trailer: string | null;
  readonly webSocket: string | null;
  readonly error: string | null;
}

async function callFar(scene: Scene, servername: string): Promise<FarCall> {
  const { key, certificate } = await scene.once("far server", () => startFarServer(scene.lab));
  const program = join(packageRoot(), "test", "battery", "far-client.mjs");
  const argv = [process.execPath, program, scene.service(13), servername, scene.lab.caFile, key, certificate];
  return JSON.parse(await scene.lab.execChecked("agent1", argv)) as FarCall;
}

/** Puts a server that knows its clients by their certificates behind the address of api.allowed.test. */
async function startFarServer(lab: Lab): Promise<{ readonly key: string; readonly certificate: string }> {
  const tls = dirname(lab.caFile);
  const [key, certificate] = [join(tls, "client.key"), join(tls, "client.pem")];
  const argv = [
    "openssl",
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-days",
    "2",
  ] as const;
  await runChecked([...argv, "-subj", "/CN=battery", "-keyout", key, "-out", certificate], { timeoutMs: 10_000 });
  const program = join(packageRoot(), "test", "battery", "far-server.mjs");
  const files = [join(tls, "server.key"), join(tls, "server.pem"), certificate];
  await waitForOutput(lab.spawn("internet", [process.execPath, program, "8443", ...files]), "ready", "the far server");
  const { v4, v6 } = lab.names["api.allowed.test"];
  const rules = `table inet far {
  chain pre {
    type nat hook prerouting priority dstnat;
    ip daddr ${v4} tcp dport 443 redirect to :8443
    ip6 daddr ${v6} tcp dport 443 redirect to :8443
  }
}
`;
  await lab.execChecked("internet", ["nft", "-f", "-"], { stdin: rules });
  return { key, certificate };
}
