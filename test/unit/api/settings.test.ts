import { describe, expect, test } from "vitest";
import { parseSettings } from "../../../agent/settings/parse-settings.ts";

const lone = {
  version: 1,
  gateway: "gw",
  interfaces: { clients: ["lan0"], upstream: ["wan0"] },
  dns: { upstreams: ["192.0.2.53"] },
};
const parse = (more: object) => parseSettings(Buffer.from(JSON.stringify({ ...lone, ...more })), "agent.json");
const issuesOf = (more: object): string => {
  const result = parse(more);
  return result.ok ? "" : result.issues.map(({ message, remedy }) => `${message} → ${remedy}`).join("\n");
};

describe("a gateway without a forge", () => {
  test("needs neither repository nor trust, and keeps its root of trust in its state folder", () => {
    const result = parse({ paths: { state: "/srv/state" } });
    expect(result).toMatchObject({
      ok: true,
      settings: {
        repository: { url: null, name: "own" },
        trust: { root: "/srv/state/own/root.json" },
        api: { port: null },
      },
    });
  });

  test("with a url, a name and a root of trust are needed", () => {
    const url = "https://git.example.com/acme/egress.git";
    expect(issuesOf({ repository: { url } })).toMatch(/needs a name[\s\S]*needs a root of trust/);
    expect(issuesOf({ repository: { url, name: "acme" }, trust: { root: "/etc/clawgress/root.json" } })).toBe("");
  });
});

describe("the API", () => {
  test("listens on loopback, and elsewhere only with TLS", () => {
    const tls = { certificateFile: "/etc/cert.pem", keyFile: "/etc/key.pem" };
    expect(parse({ api: { port: 8420 } })).toMatchObject({
      ok: true,
      settings: { api: { address: "127.0.0.1", metrics: "open" } },
    });
    expect(issuesOf({ api: { port: 8420, address: "::1" } })).toBe("");
    expect(issuesOf({ api: { port: 8420, address: "0.0.0.0" } })).toMatch(/in clear/);
    expect(parse({ api: { port: 8420, address: "0.0.0.0", tls } })).toMatchObject({
      ok: true,
      settings: { api: { metrics: "key" } },
    });
    for (const address of ["localhost", "fe80::1%lan0", "127.0.0.1:80"]) {
      expect(issuesOf({ api: { port: 8420, address } }), address).toMatch(/is no address/);
    }
  });

  test("has a user without other use", () => {
    for (const user of ["root", "0", "bind", "clawgress"])
      expect(issuesOf({ api: { user } }), user).toMatch(/without other use/);
  });
});
