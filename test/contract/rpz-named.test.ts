import { type ChildProcess, spawn } from "node:child_process";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import packet, { type DecodedPacket } from "dns-packet";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { renderNamedConf } from "../../agent/compile/named-conf.ts";
import { AUDIT_SOURCE, BLOCK_ZONE, CANARY_NAME, DENIED_CANARY_NAME, DENY_ZONE } from "../../agent/compile/release.ts";
import { type RpzZones, renderZones } from "../../agent/compile/rpz.ts";
import { monotonicMs, sleepMs } from "../../agent/host/clock.ts";
import { runChecked } from "../../agent/host/run.ts";
import { dnsSettings, policyOf } from "../support/compile-samples.ts";

/** A real named with the compiled files, in front of a resolver that knows every name and writes down what it is asked. */
interface Setup {
  readonly folder: string;
  readonly port: number;
  readonly named: ChildProcess;
  readonly resolver: Socket;
  readonly asked: string[];
}

async function bindUdp(address = "127.0.0.1"): Promise<Socket> {
  const socket = createSocket("udp4");
  socket.bind(0, address);
  await once(socket, "listening");
  return socket;
}

async function freePort(): Promise<number> {
  const socket = await bindUdp();
  const { port } = socket.address();
  socket.close();
  return port;
}

async function startResolver(asked: string[]): Promise<Socket> {
  const resolver = await bindUdp();
  resolver.on("message", (bytes, from) => {
    const query = packet.decode(bytes);
    const [question] = query.questions ?? [];
    if (question === undefined) return;
    asked.push(question.name.toLowerCase());
    const name = question.name.toLowerCase();
    const target = name.startsWith("alias-to-")
      ? `${name.slice("alias-to-".length).split(".")[0]}.block.example`
      : name;
    const alias = target === name ? [] : [{ type: "CNAME", name: question.name, ttl: 60, data: target } as const];
    const answers =
      question.type === "A" ? [...alias, { type: "A", name: target, ttl: 60, data: "192.0.2.1" } as const] : [];
    const flags = packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE;
    resolver.send(
      packet.encode({ type: "response", id: query.id ?? 0, flags, questions: [question], answers }),
      from.port,
      from.address,
    );
  });
  return resolver;
}

function publish(folder: string, zones: RpzZones): void {
  writeFileSync(join(folder, "block.zone"), zones.block);
  writeFileSync(join(folder, "allow.zone"), zones.allow);
  writeFileSync(join(folder, "deny.zone"), zones.deny);
}

async function start(zones: RpzZones): Promise<Setup> {
  const folder = mkdtempSync(join(tmpdir(), "clawgress-rpz-"));
  const asked: string[] = [];
  const resolver = await startResolver(asked);
  const [port, controlPort] = [await freePort(), await freePort()];
  const dns = {
    ...dnsSettings,
    upstreams: ["127.0.0.1"],
    upstreamPort: resolver.address().port,
    namedPort: port,
    controlPort,
  };
  publish(folder, zones);
  writeFileSync(join(folder, "named.conf"), renderNamedConf(dns));
  const secret = Buffer.alloc(32, 7).toString("base64");
  writeFileSync(join(folder, "rndc.key"), `key "clawgress" { algorithm hmac-sha256; secret "${secret}"; };\n`);
  writeFileSync(join(folder, "control-port"), String(controlPort));
  const cwd = join(folder, "work");
  mkdirSync(cwd);
  const named = spawn("named", ["-f", "-c", "../named.conf"], { cwd, stdio: "ignore" });
  const setup = { folder, port, named, resolver, asked };
  await waitForCanary(setup, zones.canary);
  return setup;
}

async function stop(setup: Setup): Promise<void> {
  setup.named.kill("SIGKILL");
  await once(setup.named, "exit");
  setup.resolver.close();
  rmSync(setup.folder, { recursive: true });
}

async function query(
  port: number,
  name: string,
  type: "A" | "TXT" = "A",
  source = "127.0.0.1",
): Promise<DecodedPacket> {
  const socket = await bindUdp(source);
  try {
    const answer = once(socket, "message", { signal: AbortSignal.timeout(5_000) });
    const opt = {
      type: "OPT",
      name: ".",
      udpPayloadSize: 1232,
      extendedRcode: 0,
      ednsVersion: 0,
      flags: packet.DNSSEC_OK,
    } as never;
    socket.send(
      packet.encode({
        type: "query",
        id: 77,
        flags: packet.RECURSION_DESIRED,
        questions: [{ type, name }],
        additionals: [opt],
      }),
      port,
      "127.0.0.1",
    );
    const [bytes] = (await answer) as [Buffer];
    return packet.decode(bytes);
  } finally {
    socket.close();
  }
}

async function canaryText(port: number): Promise<string> {
  const { answers = [] } = await query(port, CANARY_NAME, "TXT");
  return answers.map((answer) => (answer.type === "TXT" ? String(answer.data) : "")).join("");
}

async function waitForCanary({ port }: Setup, canary: string): Promise<number> {
  const startMs = monotonicMs();
  for (;;) {
    const text = await canaryText(port).catch(() => "no answer");
    if (text === canary) return monotonicMs() - startMs;
    if (monotonicMs() - startMs > 10_000) throw new Error(`named does not serve the zone: ${text}`);
    await sleepMs(20);
  }
}

const zonesFor = (...domains: readonly string[]): RpzZones => renderZones(policyOf({ version: 1, allow: { domains } }));
const rcodeOf = (answer: DecodedPacket): string => (answer as unknown as { rcode: string }).rcode;

describe("named with the compiled zones", () => {
  const zones = zonesFor(
    "api.example.com",
    "*.wild.example.com",
    "a.b.wild.example.com",
    "*.d.wild.example.com",
    "x.y.deep.example.com",
    "*.com.example.org",
  );
  let setup: Setup;
  beforeAll(async () => {
    setup = await start(zones);
  });
  afterAll(async () => await stop(setup));

  it.each([
    "api.example.com",
    "API.Example.Com",
    "q.wild.example.com",
    "b.wild.example.com",
    "a.b.wild.example.com",
    "c.b.wild.example.com",
    "z.a.b.wild.example.com",
    "d.wild.example.com",
    "e.d.wild.example.com",
    "x.y.deep.example.com",
    "api.example.com.com.example.org",
  ])("answers %s, which is allowed", async (name) => {
    const answer = await query(setup.port, name);
    expect(rcodeOf(answer)).toBe("NOERROR");
    expect(answer.answers?.map(({ type }) => type)).toEqual(["A"]);
    expect(setup.asked).toContain(name.toLowerCase());
  });

  it.each([
    ["the apex of a wildcard", "wild.example.com"],
    ["a parent of an allowed name", "example.com"],
    ["a top-level domain", "com"],
    ["an empty node of the allow zone", "y.deep.example.com"],
    ["beside an allowed name", "q.y.deep.example.com"],
    ["below an allowed name", "secret.api.example.com"],
    ["far below", "a.b.c.d.api.example.com"],
    ["the apex of a wildcard that looks like another zone", "com.example.org"],
    ["an allowed name as a prefix", "api.example.com.evil.example"],
    ["one label", "localhost"],
    ["the denied canary", DENIED_CANARY_NAME],
    ["the parent of the canary", "canary.clawgress.invalid"],
    ["the zone itself as a name", DENY_ZONE],
    ["a name of 253 characters", `${"a.".repeat(126)}a`],
  ])("denies %s without asking anybody", async (_title, name) => {
    setup.asked.length = 0;
    const answer = await query(setup.port, name);
    expect(rcodeOf(answer)).toBe("NXDOMAIN");
    expect(answer.additionals?.filter(({ type }) => type === "SOA").map((record) => record.name)).toEqual([DENY_ZONE]);
    expect(setup.asked).toEqual([]);
  });

  it("GE6: serves a new release within a second, though its serial is lower", async () => {
    const { folder } = setup;
    const lower = Array.from({ length: 100 }, (_, index) => zonesFor(`n${index}.example.net`)).find(
      ({ allowSerial }) => allowSerial < zones.allowSerial && zones.allowSerial - allowSerial < 2 ** 31,
    );
    if (lower === undefined) throw new Error("none of 100 zones has a lower serial");
    publish(folder, lower);
    const port = (await runChecked(["cat", join(folder, "control-port")], { timeoutMs: 1_000 })).trim();
    await runChecked(["rndc", "-k", join(folder, "rndc.key"), "-p", port, "reload"], { timeoutMs: 5_000 });
    expect(await waitForCanary(setup, lower.canary)).toBeLessThan(1_000);
    expect(rcodeOf(await query(setup.port, "api.example.com"))).toBe("NXDOMAIN");
  });
});

describe("named with names that are denied for everyone", () => {
  const zones = renderZones(
    policyOf({
      version: 1,
      allow: { domains: ["*.block.example", "api.example.com", "*.gone.example"] },
      deny: {
        domains: ["evil.block.example", "x.y.deep.block.example", "*.tree.block.example", "a.tree.block.example"],
      },
      hosts: {
        h: { sources: ["10.0.0.1"], deny: { domains: ["own.block.example"] } },
      },
    }),
  );
  let setup: Setup;
  beforeAll(async () => {
    setup = await start(zones);
  });
  afterAll(async () => await stop(setup));

  it.each([
    ["under an allowed wildcard", "evil.block.example"],
    ["in another spelling", "EVIL.Block.Example"],
    ["deep under it", "x.y.deep.block.example"],
    ["below a denied wildcard", "q.tree.block.example"],
    ["far below a denied wildcard", "p.q.tree.block.example"],
    ["a name that both deny", "a.tree.block.example"],
    ["below a name that both deny", "b.a.tree.block.example"],
  ])("denies %s: %s, and asks nobody", async (_title, name) => {
    setup.asked.length = 0;
    const answer = await query(setup.port, name);
    expect(rcodeOf(answer)).toBe("NXDOMAIN");
    expect(answer.additionals?.filter(({ type }) => type === "SOA").map((record) => record.name)).toEqual([BLOCK_ZONE]);
    expect(setup.asked).toEqual([]);
  });

  it.each([
    ["below a denied name", "a.evil.block.example"],
    ["the apex of a denied wildcard", "tree.block.example"],
    ["an empty node of the block zone", "y.deep.block.example"],
    ["another one", "deep.block.example"],
    ["beside a denied name", "z.y.deep.block.example"],
    ["what one host alone is denied", "own.block.example"],
    ["another name", "api.example.com"],
  ])("answers %s: %s", async (_title, name) => {
    expect(rcodeOf(await query(setup.port, name))).toBe("NOERROR");
    expect(setup.asked).toContain(name);
  });

  it("still denies what nothing allows, by the zone behind", async () => {
    const answer = await query(setup.port, "other.example");
    expect(answer.additionals?.filter(({ type }) => type === "SOA").map((record) => record.name)).toEqual([DENY_ZONE]);
  });

  it("does not judge where an allowed name leads: that is the gate's", async () => {
    const answer = await query(setup.port, "alias-to-evil.block.example");
    expect(rcodeOf(answer)).toBe("NOERROR");
  });
});

describe("named while a group is under audit", () => {
  const document = { version: 1, allow: { domains: ["*.block.example"] }, deny: { domains: ["evil.block.example"] } };
  const names = ["evil.block.example", "other.example", "com", "x.block.example"];

  it("exempts the one address from which the gate asks for what an audit lets pass", async () => {
    const setup = await start(renderZones(policyOf({ ...document, mode: "audit" })));
    try {
      for (const name of names) {
        expect(rcodeOf(await query(setup.port, name, "A", AUDIT_SOURCE)), name).toBe("NOERROR");
        const expected = name === "x.block.example" ? "NOERROR" : "NXDOMAIN";
        expect(rcodeOf(await query(setup.port, name)), name).toBe(expected);
      }
      await expect(query(setup.port, "other.example", "A", "127.0.0.3")).resolves.toMatchObject({ rcode: "REFUSED" });
    } finally {
      await stop(setup);
    }
  });

  it("exempts nobody otherwise", async () => {
    const setup = await start(renderZones(policyOf(document)));
    try {
      for (const name of names) {
        const expected = name === "x.block.example" ? "NOERROR" : "NXDOMAIN";
        expect(rcodeOf(await query(setup.port, name, "A", AUDIT_SOURCE)), name).toBe(expected);
      }
    } finally {
      await stop(setup);
    }
  });
});

it("two instances run side by side", async () => {
  const zones = zonesFor("api.example.com");
  const setups = [await start(zones), await start(zones)];
  try {
    for (const { port } of setups) expect(await canaryText(port)).toBe(zones.canary);
  } finally {
    for (const setup of setups) await stop(setup);
  }
});
