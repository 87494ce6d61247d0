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
  test("GE32: listens on loopback, and elsewhere only with TLS", () => {
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

describe("hours in which changes are made", () => {
  test("are those of a place that the tz database knows, every day unless they say which", () => {
    const result = parse({ updates: { windows: [{ start: "22:00", end: "06:00", tz: "Europe/Berlin" }] } });
    const hours = { startS: 22 * 3600, endS: 6 * 3600, timeZone: "Europe/Berlin" };
    expect(result).toMatchObject({ ok: true, settings: { updates: { windows: [hours] } } });
    expect(issuesOf({ updates: { windows: [{ start: "22:00", end: "06:00", tz: "Mars/Base" }] } })).toMatch(
      /Mars\/Base is no time zone → write a name of the tz database/,
    );
    expect(issuesOf({ updates: { windows: [{ start: "25:00", end: "06:00" }] } })).not.toBe("");
    expect(parse({})).toMatchObject({ ok: true, settings: { updates: { windows: [] } } });
  });
});
