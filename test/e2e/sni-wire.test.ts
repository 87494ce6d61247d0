import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Lab, startLab } from "../lab/lab.ts";
import { clientHello, ECH_EXTENSION, type HelloParts } from "../support/client-hello.ts";
import { eventually } from "../support/eventually.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";
import { type RecordReader, readProxyRecords } from "../support/proxy-records.ts";
import { makeSelfSigned } from "../support/self-signed.ts";

/** What clients may put on the wire in SNI mode, byte by byte and protocol by protocol. */

let lab: Lab;
let gateway: TestGateway;
let records: RecordReader;

const serverProgram = fileURLToPath(new URL("../support/splice-server.mjs", import.meta.url));
const clientProgram = fileURLToPath(new URL("../support/splice-client.mjs", import.meta.url));
const families = [4, 6] as const;

beforeAll(async () => {
  lab = await startLab();
  const policy = {
    version: 1,
    allow: {
      domains: [{ domain: "a.allowed.test", label: "a" }, "api.allowed.test", "*.wild.test"],
      ports: [443],
    },
    proxy: { mode: "sni-allowlist" },
  };
  gateway = await setUpGateway(lab, { policy });
  gateway.start();
  const first = await gateway.head();
  await gateway.awaitStatus(first, ["success"]);
  records = readProxyRecords(gateway);
});
afterAll(async () => {
  await lab?.stop();
});

const dialled = (family: 4 | 6): string => (family === 4 ? "203.0.113.60" : "2001:db8:1::3c");
/** The far end's own TLS records come back, or nothing does. */
async function say(parts: HelloParts, family: 4 | 6): Promise<"answered" | "refused by the server" | "closed"> {
  const answer = await lab.client("agent1").exchange(dialled(family), 443, clientHello(parts), { timeoutMs: 4_000 });
  const text = "data" in answer ? answer.data : "";
  if (text === "" && /closed|reset/.test(answer.outcome)) return "closed";
  if (text.startsWith("\x16\x03\x03")) return "answered";
  if (text.startsWith("\x15\x03")) return "refused by the server";
  throw new Error(JSON.stringify(answer));
}

const good = "a.allowed.test";
const padding = (bytes: number): readonly [number, Buffer] => [21, Buffer.alloc(bytes)];

describe.each(families)("a ClientHello over IPv%i", (family) => {
  test.each<[string, HelloParts, "answered" | "refused by the server"]>([
    ["as it should be", { names: [good] }, "answered"],
    ["of 16 KB in one record", { names: [good], extensions: [padding(16_000)] }, "answered"],
    ["with an extension that is ECH or GREASE", { names: [good], extensions: [ECH_EXTENSION] }, "answered"],
    // The first name counts, and says where it goes; a server may refuse two.
    ["that names another server behind it", { names: [good, "www.denied.test"] }, "refused by the server"],
  ])("%s is passed on", async (_title, parts, expected) => {
    await lab.mark();
    await records.mark();
    expect(await say(parts, family)).toBe(expected);
    const [address = ""] = lab.names[good][`v${family}`];
    expect((await lab.packets({ to: address, port: 443 })).packets).toBeGreaterThan(0);
    const record = await records.find({ plane: "tls", verdict: "allow", name: good, label: "a" });
    expect(record).toMatchObject({ destination: address, rule: { pointer: "/allow/domains/0" }, severity: "info" });
    expect((await lab.packets({ to: dialled(family) })).packets).toBe(0);
  });

  test.each<[string, HelloParts, string]>([
    [
      "in records of 511 bytes and 1 more",
      { names: [good], extensions: [padding(398)], records: [511] },
      "hello-fragmented",
    ],
    [
      "over two records, the name in the second",
      { names: [good], extensions: [padding(600)], records: [300] },
      "hello-fragmented",
    ],
    ["longer than a record", { names: [good], extensions: [padding(17_000)], records: [16_384] }, "hello-fragmented"],
    [
      "with ECH and an outer name that is not allowed",
      { names: ["ech.denied.test"], extensions: [ECH_EXTENSION] },
      "sni-not-allowed",
    ],
    ["that names another server first", { names: ["www.denied.test", good] }, "sni-not-allowed"],
    ["with an address as a name", { names: ["203.0.113.10"] }, "sni-not-allowed"],
    ["with an IPv6 address as a name", { names: ["2001:db8:1::a"] }, "sni-malformed"],
    ["with a NUL in the name", { names: ["a.allowed.test\0.evil.test"] }, "sni-malformed"],
    ["with a NUL behind the name", { names: ["a.allowed.test\0"] }, "sni-malformed"],
    ["with a line break in the name", { names: ["a.allowed.test\r\nx: y"] }, "sni-malformed"],
    [
      "with bytes that are no text",
      { names: [Buffer.from("ff80612e616c6c6f7765642e74657374", "hex")] },
      "sni-malformed",
    ],
    ["with an empty name", { names: [""] }, "sni-missing"],
    ["without a name", {}, "sni-missing"],
  ])("%s is closed", async (_title, parts, reason) => {
    await lab.mark();
    await records.mark();
    expect(await say(parts, family)).toBe("closed");
    const record = await records.find({
      plane: "tls",
      verdict: "deny",
      reason,
      client: lab.addresses.agent1[`v${family}`],
    });
    expect(record).toMatchObject({ action: "close", port: 443, protocol: "tcp", count: expect.any(Number) });
    const [address = ""] = lab.names[good][`v${family}`];
    expect((await lab.packets({ to: address, port: 443 })).packets).toBe(0);
    expect((await lab.packets({ to: dialled(family) })).packets).toBe(0);
  });
});

test("client certificates, HTTP/2, gRPC and WebSocket go through as they are", async () => {
  const names = "DNS:api.allowed.test";
  const server = await makeSelfSigned(lab.folder, "splice-server", names);
  const client = await makeSelfSigned(lab.folder, "splice-client", "DNS:agent.test");
  const key = (name: string): string => join(lab.folder, `${name}.key`);
  const [at4 = ""] = lab.names["api.allowed.test"].v4;
  const [at6 = ""] = lab.names["api.allowed.test"].v6;
  await lab.execChecked("internet", [
    "nft",
    `add table inet splice
     add chain inet splice turn { type nat hook prerouting priority dstnat; }
     add rule inet splice turn ip daddr ${at4} tcp dport 443 redirect to :9443
     add rule inet splice turn ip6 daddr ${at6} tcp dport 443 redirect to :9443`,
  ]);
  const serving = lab.spawn("internet", [
    ...[process.execPath, serverProgram, "9443", key("splice-server"), server.file, client.file],
  ]);
  await eventually("the server listens", async () => serving.output().includes("ready"));
  for (const family of families) {
    const argv = [process.execPath, clientProgram, dialled(family), "api.allowed.test", server.file];
    const result = await lab.execChecked("agent1", [...argv, key("splice-client"), client.file]);
    expect(JSON.parse(result)).toEqual({
      answers: Array.from({ length: 20 }, (_, index) => `/${index} for splice-client`),
      grpc: { echoed: ["one", "two", "three"], status: "0" },
      webSocket: { accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", echoed: "frame" },
    });
    // The twin without a certificate shows that the server means it.
    expect(JSON.parse(await lab.execChecked("agent1", argv))).toMatchObject({ error: expect.any(String) });
  }
  await serving.kill();
});
