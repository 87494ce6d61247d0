import { createHash, X509Certificate } from "node:crypto";
import { createSocket } from "node:dgram";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { createServer as createTlsServer, type Server } from "node:https";
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decode, encode } from "dns-packet";
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type HttpClient, type HttpSettings, openHttpClient } from "../../../agent/host/http.ts";
import { readSecret } from "../../../agent/host/secret-file.ts";
import { makeSelfSigned } from "../../support/self-signed.ts";

const folder = mkdtempSync(join(tmpdir(), "clawgress-http-"));
const first = await makeSelfSigned(folder, "first", "DNS:forge.test,IP:127.0.0.1");
const second = await makeSelfSigned(folder, "second", "DNS:forge.test,IP:127.0.0.1");
const closers: (() => unknown)[] = [];
let seen: { path: string; authorization: string | undefined; socket: Socket }[] = [];
let listener: RequestListener;

beforeEach(() => {
  seen = [];
  listener = (_, response) => response.end("hello");
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
afterAll(() => rmSync(folder, { recursive: true }));

const onRequest: RequestListener = (request, response) => {
  seen.push({ path: request.url ?? "", authorization: request.headers.authorization, socket: request.socket });
  listener(request, response);
};
async function listen(server: ReturnType<typeof createServer> | Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}
const startTls = (tls: { key: string; cert: string }): Promise<number> => listen(createTlsServer(tls, onRequest));
const startPlain = (): Promise<number> => listen(createServer(onRequest));

function open(baseUrl: string, more: Partial<HttpSettings> = {}): HttpClient {
  const none = { caFile: null, proxy: null, dnsServers: [], dnsPort: 53, authorize: async () => "Bearer t0ken" };
  const client = openHttpClient({ baseUrl, ...none, ...more });
  closers.push(() => client.close());
  return client;
}
async function get(client: HttpClient, path = "/x", timeoutMs = 5_000): Promise<string> {
  const signal = new AbortController().signal;
  const answer = await client.request({ method: "GET", path, headers: {}, timeoutMs, maxBytes: 100_000, signal });
  return `${answer.status} ${answer.body.toString()}`;
}

describe("the address", () => {
  test.each([
    "https://forge.test/a/b.git",
    "http://127.0.0.1:8080/",
    "http://127.9.9.9/",
    "http://[::1]:8080/",
    "http://localhost/",
  ])("%s is taken", (url) => {
    expect(() => open(url)).not.toThrow();
  });
  test.each([
    ["http://forge.test/", /neither https nor http on loopback/],
    ["http://127.0.0.1.evil.example/", /neither/],
    ["http://localhost.evil.example/", /neither/],
    ["ssh://forge.test/", /neither/],
    ["file:///etc/passwd", /neither/],
    ["https://user:secret@forge.test/", /carries a user or password/],
    ["https://forge.test/?token=secret", /query/],
    ["forge.test/x", /not an absolute URL/],
  ])("%s is refused, and no secret is repeated", (url, message) => {
    const refusal = expect.objectContaining({ code: "SETTINGS_INVALID", message: expect.stringMatching(message) });
    expect(() => open(url)).toThrow(refusal);
    expect(() => open(url)).not.toThrow(/secret/);
  });
});

describe("connections", () => {
  test("paths are appended to the address, credentials go along, the connection is kept", async () => {
    const client = open(`http://127.0.0.1:${await startPlain()}/base/`);
    expect(await get(client, "/a?b=c")).toBe("200 hello");
    expect(await get(client, "/d")).toBe("200 hello");
    expect(seen.map(({ path }) => path)).toEqual(["/base/a?b=c", "/base/d"]);
    expect(seen[0]?.authorization).toBe("Bearer t0ken");
    expect(seen[1]?.socket).toBe(seen[0]?.socket);
  });

  test("a kept connection that the server closed is replaced without an error, once", async () => {
    const client = open(`http://127.0.0.1:${await startPlain()}`);
    await get(client);
    const kept = seen[0]?.socket;
    listener = (request, response) => (request.socket === kept ? request.socket.destroy() : response.end("again"));
    expect(await get(client)).toBe("200 again");
    listener = (request) => request.socket.destroy();
    await expect(get(client)).rejects.toMatchObject({ code: "SOURCE_UNREACHABLE" });
    expect(seen).toHaveLength(5);
  });

  test("GD4 redirects are an answer like any other", async () => {
    listener = (_, response) => response.writeHead(302, { location: "/elsewhere" }).end();
    expect(await get(open(`http://127.0.0.1:${await startPlain()}`))).toBe("302 ");
    expect(seen).toHaveLength(1);
  });

  test("GD2 less than 1,000 bytes in 10 s end the request long before its deadline", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    closers.push(() => vi.useRealTimers());
    listener = (_, response) => void response.write("x".repeat(500));
    const client = open(`http://127.0.0.1:${await startPlain()}`);
    const answer = get(client, "/slow", 60_000).catch((error: unknown) => error);
    await vi.waitFor(() => expect(vi.getTimerCount()).toBeGreaterThan(0));
    vi.advanceTimersByTime(10_000);
    expect(await answer).toMatchObject({
      code: "SOURCE_TIMEOUT",
      message: expect.stringMatching(/sent \d+ bytes in 10000 ms/),
    });
  });

  test.each([
    ["a status line that is none", "HTTQ/1.1 200\r\n\r\n", "SOURCE_PROTOCOL"],
    ["endless headers", `HTTP/1.1 200 OK\r\nx: ${"y".repeat(40_000)}\r\n\r\n`, "SOURCE_TOO_LARGE"],
    [
      "a body shorter than announced",
      "HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\nshort",
      "SOURCE_PROTOCOL",
    ],
  ])("%s", async (_, bytes, code) => {
    listener = (request) => void request.socket.end(bytes);
    await expect(get(open(`http://127.0.0.1:${await startPlain()}`))).rejects.toMatchObject({ code });
  });
});

describe("GD5 TLS", () => {
  test("an unknown authority is refused, with what to do", async () => {
    const client = open(`https://127.0.0.1:${await startTls(first)}`);
    await expect(get(client)).rejects.toMatchObject({
      code: "SOURCE_UNREACHABLE",
      remedy: expect.stringContaining("caFile"),
    });
    expect(seen).toEqual([]);
  });

  test("the configured authority is believed, and is read again when its file changes", async () => {
    const caFile = join(folder, "ca.pem");
    copyFileSync(second.file, caFile);
    const client = open(`https://127.0.0.1:${await startTls(first)}`, { caFile });
    await expect(get(client)).rejects.toMatchObject({ code: "SOURCE_UNREACHABLE" });
    copyFileSync(first.file, caFile);
    expect(await get(client)).toBe("200 hello");
    copyFileSync(second.file, caFile);
    await expect(get(client)).rejects.toMatchObject({ code: "SOURCE_UNREACHABLE" });
    rmSync(caFile);
    await expect(get(client)).rejects.toMatchObject({ code: "HOST_FILE" });
  });

  test("a key that is pinned is believed, another one is not, though its authority is", async () => {
    const pinOf = (file: string): string => {
      const key = new X509Certificate(readFileSync(file)).publicKey.export({ type: "spki", format: "der" });
      return `sha256/${createHash("sha256").update(key).digest("base64")}`;
    };
    const url = `https://127.0.0.1:${await startTls(first)}`;
    expect(await get(open(url, { caFile: first.file, pinnedKeys: [pinOf(second.file), pinOf(first.file)] }))).toBe(
      "200 hello",
    );
    seen.length = 0;
    await expect(get(open(url, { caFile: first.file, pinnedKeys: [pinOf(second.file)] }))).rejects.toMatchObject({
      code: "SOURCE_UNREACHABLE",
      message: expect.stringContaining(pinOf(first.file)),
      remedy: expect.stringContaining("pinnedKeys"),
    });
    expect(seen).toEqual([]);
  });

  test("a certificate that has expired is refused, though its authority is believed", async () => {
    const expired = await makeSelfSigned(folder, "expired", "IP:127.0.0.1", ["20200101000000Z", "20200201000000Z"]);
    const client = open(`https://127.0.0.1:${await startTls(expired)}`, { caFile: expired.file });
    await expect(get(client)).rejects.toMatchObject({
      code: "SOURCE_UNREACHABLE",
      message: expect.stringContaining("expired"),
      remedy: expect.stringContaining("certificate"),
    });
    expect(seen).toEqual([]);
  });

  test("a server that speaks no TLS, and one that hangs in its handshake, are told apart from a wrong certificate", async () => {
    await expect(get(open(`https://127.0.0.1:${await startPlain()}`))).rejects.toMatchObject({
      code: "SOURCE_UNREACHABLE",
    });
    const silent = createTcpServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    closers.push(() => silent.close());
    const client = open(`https://127.0.0.1:${(silent.address() as AddressInfo).port}`);
    await expect(get(client, "/", 300)).rejects.toMatchObject({ code: "SOURCE_TIMEOUT" });
  });

  test("a certificate for another name is refused", async () => {
    const other = await makeSelfSigned(folder, "other", "DNS:other.test");
    const client = open(`https://127.0.0.1:${await startTls(other)}`, { caFile: other.file });
    await expect(get(client)).rejects.toMatchObject({
      code: "SOURCE_UNREACHABLE",
      message: expect.stringContaining("altnames"),
    });
  });
});

describe("GD6 proxy", () => {
  async function startProxy(
    status: number,
    onSocket: (socket: Socket) => void = () => {},
  ): Promise<{ port: number; asked: string[] }> {
    const asked: string[] = [];
    const proxy = createServer();
    proxy.on("connect", (request, socket: Socket, head) => {
      onSocket(socket);
      asked.push(`${request.url} ${request.headers["proxy-authorization"]} ${request.headers.authorization}`);
      if (status !== 200) return void socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`);
      const [host = "", port] = (request.url ?? "").split(":");
      const upstream = connect(Number(port), host === "forge.test" ? "127.0.0.1" : host, () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        upstream.write(head);
        upstream.pipe(socket).pipe(upstream);
      });
      upstream.on("error", () => socket.destroy());
      socket.on("error", () => upstream.destroy());
      socket.on("close", () => upstream.destroy());
    });
    return { port: await listen(proxy), asked };
  }

  test("the tunnel goes to the server by name, and the proxy never sees the server's credentials", async () => {
    const { port, asked } = await startProxy(200);
    const target = await startTls(first);
    const client = open(`https://forge.test:${target}`, { caFile: first.file, proxy: `http://u:p@127.0.0.1:${port}` });
    expect(await get(client)).toBe("200 hello");
    expect(asked).toEqual([`forge.test:${target} Basic ${Buffer.from("u:p").toString("base64")} undefined`]);
    expect(seen[0]?.authorization).toBe("Bearer t0ken");
  });

  test("a proxy that dies on the way is an error to try again after, and the next request goes through", async () => {
    const sockets: Socket[] = [];
    const { port } = await startProxy(200, (socket) => sockets.push(socket));
    const target = await startTls(first);
    const client = open(`https://forge.test:${target}`, { caFile: first.file, proxy: `http://127.0.0.1:${port}` });
    listener = (_, response) => {
      response.writeHead(200, { "content-length": "10" });
      response.write("half");
      setTimeout(() => sockets[0]?.destroy(), 50);
    };
    await expect(get(client)).rejects.toMatchObject({ code: "SOURCE_UNREACHABLE" });
    listener = (_, response) => response.end("again");
    expect(await get(client)).toBe("200 again");
  });

  /** A SOCKS5 proxy (RFC 1928, RFC 1929) that takes the user `u` with the password `p` and answers a request with `reply`. */
  async function startSocks(reply: number): Promise<{ port: number; asked: string[] }> {
    const asked: string[] = [];
    const proxy = createTcpServer((socket) => {
      socket.once("data", () => {
        socket.once("data", (login) => {
          const ok = login.toString("latin1").endsWith("\x01u\x01p");
          socket.write(Buffer.of(1, ok ? 0 : 1));
          socket.once("data", (request) => {
            const name = request.toString("latin1", 5, request.length - 2);
            asked.push(`${request[3]} ${name}:${request.readUInt16BE(request.length - 2)}`);
            socket.write(Buffer.of(5, reply, 0, 1, 0, 0, 0, 0, 0, 0));
            if (reply !== 0) return;
            const upstream = connect(request.readUInt16BE(request.length - 2), "127.0.0.1");
            upstream.pipe(socket).pipe(upstream);
            upstream.on("error", () => socket.destroy());
            socket.on("close", () => upstream.destroy());
          });
        });
        socket.write(Buffer.of(5, 2));
      });
      socket.on("error", () => socket.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    closers.push(() => proxy.close());
    return { port: (proxy.address() as AddressInfo).port, asked };
  }

  test("SOCKS5: the tunnel goes to the server by name, and certificates are checked through it", async () => {
    const { port, asked } = await startSocks(0);
    const target = await startTls(first);
    const proxy = `socks5://u:p@127.0.0.1:${port}`;
    expect(await get(open(`https://forge.test:${target}`, { caFile: first.file, proxy }))).toBe("200 hello");
    // 3 is the type of a name.
    expect(asked).toEqual([`3 forge.test:${target}`]);
    const wrong = open(`https://forge.test:${target}`, { caFile: second.file, proxy });
    await expect(get(wrong)).rejects.toMatchObject({ code: "SOURCE_UNREACHABLE" });
    expect(seen).toHaveLength(1);
  });

  test.each([
    ["a request that the proxy refuses", 5, "u:p"],
    ["a wrong password", 0, "u:secret"],
  ])("SOCKS5: %s is an error without the password", async (_, reply, login) => {
    const { port } = await startSocks(reply);
    const client = open("https://forge.test", { proxy: `socks5://${login}@127.0.0.1:${port}` });
    const error = await get(client, "/", 2_000).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: expect.stringMatching(/^SOURCE_/) });
    expect(String(error)).not.toContain("secret");
  });

  test("what the environment says of proxies is not heard: each remote has the one that agent.json gives it", async () => {
    vi.stubEnv("HTTPS_PROXY", "http://127.0.0.1:1");
    vi.stubEnv("ALL_PROXY", "http://127.0.0.1:1");
    vi.stubEnv("NO_PROXY", "*");
    closers.push(() => vi.unstubAllEnvs());
    const target = await startTls(first);
    expect(await get(open(`https://127.0.0.1:${target}`, { caFile: first.file }))).toBe("200 hello");
    const { port, asked } = await startProxy(200);
    const client = open(`https://forge.test:${target}`, { caFile: first.file, proxy: `http://127.0.0.1:${port}` });
    expect(await get(client)).toBe("200 hello");
    expect(asked).toHaveLength(1);
  });

  test.each([
    [407, "SOURCE_AUTH"],
    [502, "SOURCE_UNREACHABLE"],
  ])("a proxy that answers %i is %s", async (status, code) => {
    const { port } = await startProxy(status);
    const client = open("https://forge.test", { proxy: `http://user:secret@127.0.0.1:${port}` });
    const error = await get(client).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code, message: expect.stringContaining(String(status)) });
    expect(String(error)).not.toContain("secret");
  });
});

describe("GD7 names", () => {
  /** Answers A for forge.test with a TTL, nothing else; counts the questions. */
  async function startResolver(ttl: number): Promise<{ port: number; questions: string[] }> {
    const questions: string[] = [];
    const socket = createSocket("udp4");
    socket.on("message", (message, from) => {
      const query = decode(message);
      const question = query.questions?.[0];
      if (question === undefined) return;
      questions.push(`${question.type} ${question.name}`);
      const known = question.name === "forge.test";
      socket.send(
        encode({
          type: "response",
          ...(query.id === undefined ? {} : { id: query.id }),
          flags: 0x180 | (known ? 0 : 3),
          questions: [question],
          answers: known && question.type === "A" ? [{ type: "A", name: "forge.test", ttl, data: "127.0.0.1" }] : [],
        }),
        from.port,
        from.address,
      );
    });
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    closers.push(() => socket.close());
    return { port: socket.address().port, questions };
  }

  test("the server's name is asked of the configured resolver, both types, and kept for its TTL", async () => {
    const { port, questions } = await startResolver(30);
    const target = await startTls(first);
    const client = open(`https://forge.test:${target}`, {
      caFile: first.file,
      dnsServers: ["127.0.0.1"],
      dnsPort: port,
    });
    listener = (_, response) => response.writeHead(200, { connection: "close" }).end("hello");
    expect(await get(client)).toBe("200 hello");
    expect(await get(client)).toBe("200 hello");
    expect(questions.toSorted()).toEqual(["A forge.test", "AAAA forge.test"]);
  });

  test("a TTL of zero is asked again", async () => {
    const { port, questions } = await startResolver(0);
    const target = await startTls(first);
    const client = open(`https://forge.test:${target}`, {
      caFile: first.file,
      dnsServers: ["127.0.0.1"],
      dnsPort: port,
    });
    listener = (_, response) => response.writeHead(200, { connection: "close" }).end("hello");
    await get(client);
    await get(client);
    // Debian 13's resolver library keeps the empty AAAA answer by itself.
    expect(questions.filter((question) => question.startsWith("A "))).toHaveLength(2);
  });

  test("a name that does not exist says who was asked", async () => {
    const { port } = await startResolver(30);
    const client = open("https://absent.test", { dnsServers: ["127.0.0.1"], dnsPort: port });
    await expect(get(client)).rejects.toMatchObject({
      code: "SOURCE_UNREACHABLE",
      message: expect.stringContaining("absent.test was not resolved by the configured upstream resolvers (ENOTFOUND)"),
    });
  });
});

describe("secrets", () => {
  const file = join(folder, "secret");
  test.each([
    ["plain", "t0ken", "t0ken"],
    ["a line feed at the end", "t0ken\n", "t0ken"],
    ["spaces around", " t0ken \r\n", "t0ken"],
  ])("%s", async (_, text, want) => {
    writeFileSync(file, text);
    expect(await readSecret(file)).toBe(want);
  });
  test.each([
    ["nothing", ""],
    ["two lines", "leaked\nleaked"],
    ["a header behind it", "leaked\r\nx-evil: leaked"],
    ["control characters", "leaked\0"],
    ["more than 8 KiB", "leaked".repeat(2_000)],
    ["other letters", "leakedß"],
  ])("a file with %s is refused without showing it", async (_, text) => {
    writeFileSync(file, text);
    const error = await readSecret(file).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "HOST_FILE", message: expect.stringContaining(file) });
    expect(String(error)).not.toContain("leaked");
  });
});
