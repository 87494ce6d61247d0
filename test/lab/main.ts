import { addresses, clientNodes, gatewayOf, nodes } from "./addresses.ts";
import { type Lab, startLab } from "./lab.ts";

// `npm run lab`: brings a lab up, says how to look round in it, and takes it down on Ctrl-C.

const lab = await startLab();
console.log(guide(lab));
await new Promise<void>((resolve) => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => resolve());
  // Signals alone do not keep Node alive.
  setInterval(() => {}, 60_000);
});
console.log("\ntaking it down…");
await lab.stop();
process.exit(0);

function guide(running: Lab): string {
  const inside = (node: (typeof nodes)[number]): string => `ip netns exec ${running.namespace(node)}`;
  const rows = nodes.map((node) => {
    const isClient = clientNodes.find((client) => client === node);
    const resolver = isClient === undefined ? "" : `  resolver ${gatewayOf(isClient).v4}`;
    return `  ${running.namespace(node).padEnd(18)}${resolver}`;
  });
  return `Lab ${running.id} is up after ${Math.round(running.startMs)} ms.

  agent1 .10 ─┐ 10.80.0.0/24                                        ┌ DNS  ${addresses.dns.v4}
  agent2 .11 ─┼─ lan0 ┐             198.51.100.0/24                 ├ git.lab.test  ${addresses.git.v4}
  stray  .99 ─┘ .1    ├─ gateway ─ wan0 .2 ───── .1 ── internet ────┼ api.lab.test  ${addresses.api.v4}
  guest  .10 ─── lan1 ┘ │ 10.81.0.0/24                              └ web, echo  203.0.113.0/24
  mgmt   .10 ─── mgmt0 ─┘ 10.99.0.0/24           IPv6: fd80::, fd81::, fd99::, 2001:db8:ffff::, 2001:db8:1::

The gateway forwards nothing and resolves nothing yet. Namespaces:
${rows.join("\n")}

To open it by hand:
  ${inside("gateway")} sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
  ${inside("gateway")} nft 'add table inet open; add chain inet open post { type nat hook postrouting priority srcnat; }; add rule inet open post oifname wan0 masquerade'
To try something:
  ${inside("gateway")} dig @${addresses.dns.v4} www.allowed.test
  ${inside("agent1")} dig @${addresses.lan.v4} www.allowed.test
  ${inside("agent1")} curl --cacert ${running.caFile} --resolve www.allowed.test:443:203.0.113.12 https://www.allowed.test/
  ${inside("gateway")} env GIT_SSL_CAINFO=${running.caFile} git ls-remote https://lab:${running.git.token}@git.lab.test/NAME.git
  ${inside("internet")} nft list table inet lab

Folder            ${running.folder}
Repositories      ${running.folder}/repositories/NAME.git (git init --bare -b main)
Query log         ${running.queryLogFile}
Trust anchors     ${running.trustAnchorsFile}
Git token         ${running.git.token}
Status token      ${running.statuses.token}

Ctrl-C takes it down.`;
}
