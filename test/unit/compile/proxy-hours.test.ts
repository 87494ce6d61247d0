import { describe, expect, it } from "vitest";
import { earlier, isOtherMap, nextProxyChange } from "../../../agent/apply/proxy-times.ts";
import { proxyHours } from "../../../agent/compile/proxy-hours.ts";
import { renderProxyMaps, timedMaps } from "../../../agent/compile/proxy-maps.ts";
import { policyOf } from "../../support/compile-samples.ts";

const at = (text: string): number => Date.parse(text) / 1000;
const sni = { mode: "sni-allowlist" };
const days = { start: "08:00", end: "18:00" };

const policy = policyOf({
  version: 1,
  proxy: sni,
  allow: {
    domains: [
      "plain.example.com",
      "*.wide.example.com",
      "always.wide.example.com",
      { domain: "old.example.com", expires: "2026-11-26T12:00:00Z" },
      { domain: "mixed.example.com", expires: "2026-11-26T12:00:00Z", ports: [443] },
      { domain: "mixed.example.com", ports: [80] },
    ],
  },
  domain_time_windows: {
    "*.wide.example.com": days,
    "night.wide.example.com": { start: "20:00", end: "06:00" },
    "always.wide.example.com": { start: "00:00", end: "00:00" },
  },
  deny: { domains: [{ domain: "bad.wide.example.com", expires: "2026-11-26T12:00:00Z" }, "worse.wide.example.com"] },
});

const linesAt = (time: string | null): readonly string[] => proxyHours(policy, time === null ? null : at(time));

describe("how long names are open, for the proxy", () => {
  it("is nothing in a release, so that its bytes do not know the time", () => {
    expect(linesAt(null)).toEqual([
      "wide.example.com*@*|tls 0",
      "always.wide.example.com@*|tls 0",
      "mixed.example.com@*|tls 0",
      "old.example.com@*|tls 0",
      "plain.example.com@*|tls 9000000000",
      "night.wide.example.com@*|tls 0",
      "wide.example.com*@*|http 0",
      "always.wide.example.com@*|http 0",
      "mixed.example.com@*|http 9000000000",
      "old.example.com@*|http 0",
      "plain.example.com@*|http 9000000000",
      "night.wide.example.com@*|http 0",
    ]);
    expect(renderProxyMaps(policy, []).get("deny.map")).toContain("bad.wide.example.com! 1");
  });

  it("is the end of what is open, nothing for what is closed, less for what expired", () => {
    const until = at("2026-11-26T18:00:00Z");
    expect(linesAt("2026-11-26T08:00:00Z")).toEqual(
      expect.arrayContaining([
        `wide.example.com*@*|tls ${until}`,
        `old.example.com@*|tls ${at("2026-11-26T12:00:00Z")}`,
        "night.wide.example.com@*|tls 0",
        "always.wide.example.com@*|tls 9000000000",
      ]),
    );
    expect(linesAt("2026-11-26T12:00:00Z")).toEqual(
      expect.arrayContaining([
        "old.example.com@*|http -1",
        "mixed.example.com@*|tls -1",
        "mixed.example.com@*|http 9000000000",
      ]),
    );
    expect(proxyHours(policy, "unknown").filter((line) => !line.endsWith(" 9000000000"))).toEqual(
      linesAt(null).filter((line) => !line.endsWith(" 9000000000")),
    );
  });

  it("is no line at all where nothing has hours", () => {
    const plain = policyOf({ version: 1, proxy: sni, allow: { domains: ["a.example.com"] } });
    expect(proxyHours(plain, null)).toEqual([]);
  });
});

describe("what else of the proxy depends on the time", () => {
  it("is the denials that have ended", () => {
    const denied = (time: string): string => timedMaps(policy, at(time)).get("deny.map") ?? "";
    expect(denied("2026-11-26T11:59:59Z")).toContain("bad.wide.example.com!");
    expect(denied("2026-11-26T12:00:00Z")).toBe("worse.wide.example.com! 1\n");
  });

  it("changes next when anything opens, closes, expires or is denied no more", () => {
    const next = (time: string): string => new Date(nextProxyChange(policy, at(time)) * 1000).toISOString();
    expect(next("2026-11-26T07:00:00Z")).toBe("2026-11-26T08:00:00.000Z");
    expect(next("2026-11-26T08:00:00Z")).toBe("2026-11-26T12:00:00.000Z");
    expect(next("2026-11-26T12:00:00Z")).toBe("2026-11-26T18:00:00.000Z");
  });

  it("moves from one release to the next by what closes earlier", () => {
    const lines = earlier(new Set(["a 10", "b 20"]), new Set(["b 5", "c 0"]));
    expect([...lines]).toEqual(["a 10", "b 5", "c 0"]);
    expect(isOtherMap("hours.map", new Set(["a 10"]), new Set(["a 0"]))).toBe(false);
    expect(isOtherMap("hours.map", new Set(["a 10"]), new Set(["b 10"]))).toBe(true);
    expect(isOtherMap("deny.map", new Set(["a 1"]), new Set(["b 1"]))).toBe(true);
  });
});
