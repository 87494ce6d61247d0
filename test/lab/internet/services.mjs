// Everything on the lab's internet side except DNS: web servers, echoes, the Git server and the status server, in one
// process. Argument: a JSON file with the configuration that `services.ts` writes. Prints "ready" when all listen.
import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import packets from "dns-packet";
import { serveControl } from "./control.mjs";
import { createGitServer } from "./git-server.mjs";
import { countTcp, echoTcp, echoUdp, listenTcp } from "./listeners.mjs";
import { createStatusServer } from "./status-server.mjs";
import { createWeb } from "./web.mjs";

const configuration = JSON.parse(readFileSync(process.argv[2], "utf8"));
const { addresses, ports, serviceAddresses } = configuration;
const tls = { key: readFileSync(configuration.tls.key), cert: readFileSync(configuration.tls.certificate) };
const web = createWeb(tls);
const git = createGitServer({ tls, root: configuration.repositories, token: configuration.gitToken });
const statuses = createStatusServer({
  tls,
  root: configuration.repositories,
  token: configuration.statusToken,
  openApiFile: configuration.openApiFile,
});

const is = (pair, address) => address === pair.v4 || address === pair.v6;
const acceptSecure = (socket, address) => {
  if (is(addresses.git, address)) git.accept(socket);
  else if (is(addresses.api, address)) statuses.accept(socket);
  else web.secure(socket);
};

/** Asks the lab's own name server once over UDP and returns the answers as text, null when none comes within 200 ms. */
function askNameServer({ name, type }) {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    const finish = (answers) => {
      clearTimeout(timer);
      socket.close();
      resolve(answers);
    };
    const timer = setTimeout(() => finish(null), 200);
    socket.on("error", () => finish(null));
    socket.on("message", (message) => finish(packets.decode(message).answers.map((answer) => answer.data)));
    const query = packets.encode({ type: "query", id: Math.floor(Math.random() * 65536), questions: [{ name, type }] });
    socket.bind({ address: addresses.dns.v4 }, () => socket.send(query, 53, addresses.dns.v4, () => {}));
  });
}

await Promise.all([
  listenTcp(ports.http, web.plain),
  listenTcp(ports.httpAlternative, web.plain),
  listenTcp(ports.https, acceptSecure),
  listenTcp(ports.tcpEcho, echoTcp),
  listenTcp(ports.tcpSink, countTcp),
  ...serviceAddresses.flatMap(({ v4, v6 }) =>
    [v4, v6].flatMap((address) => [ports.udpEcho, ports.https].map((port) => echoUdp(address, port))),
  ),
  serveControl(configuration.controlSocket, {
    ...git.methods,
    ...statuses.methods,
    "web.requests": () => web.requests,
    "dns.ask": askNameServer,
  }),
]);
console.log("ready");
