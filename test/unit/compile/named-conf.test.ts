import { describe, expect, it } from "vitest";
import { renderNamedConf } from "../../../agent/compile/named-conf.ts";
import { dnsSettings } from "../../support/compile-samples.ts";

describe("renderNamedConf", () => {
  it("enforces by exactly the options that were measured", () => {
    expect(renderNamedConf(dnsSettings).replace(/\s+/g, " ")).toContain(
      'response-policy { zone "block.rpz.clawgress.invalid"; zone "allow.rpz.clawgress.invalid"; zone "deny.rpz.clawgress.invalid"; } ' +
        "qname-wait-recurse no break-dnssec yes recursive-only no min-update-interval 0;",
    );
  });

  it("asks inner zones of their own resolvers alone, without the signatures of the world outside", () => {
    const place = { file: "policy.json", line: 7, column: 3, pointer: "/dns/forward/corp.example" };
    const zones = [{ zone: "corp.example" as never, resolvers: ["10.0.0.53", "2001:db8::53"], place }];
    const text = renderNamedConf({ ...dnsSettings, validation: "auto" }, zones).replace(/\s+/g, " ");
    expect(text).toContain(
      'zone "corp.example" { # policy.json:7 type forward; forward only; forwarders { 10.0.0.53 port 53; 2001:db8::53 port 53; }; };',
    );
    expect(text).toContain('validate-except { "corp.example"; };');
    expect(renderNamedConf(dnsSettings, zones)).not.toContain("validate-except");
    expect(renderNamedConf({ ...dnsSettings, validation: "auto" })).not.toContain("validate-except");
  });

  it("forwards to the upstreams and to nobody else", () => {
    const text = renderNamedConf({ ...dnsSettings, upstreamPort: 5353 });
    expect(text).toContain("forward only;");
    expect(text).toContain("forwarders { 198.51.100.53 port 5353; 2001:db8:ffff::53 port 5353; };");
  });

  it.each([
    ["no", null, "dnssec-validation no;", 0],
    ["auto", null, "dnssec-validation auto;", 0],
    ["yes", "/etc/clawgress/anchors.conf", 'include "/etc/clawgress/anchors.conf";', 1],
  ] as const)("validation %s", (validation, trustAnchorsFile, line, anchorFiles) => {
    const text = renderNamedConf({ ...dnsSettings, validation, trustAnchorsFile });
    expect(text).toContain(line);
    expect(text.match(/^include "\//gm) ?? []).toHaveLength(anchorFiles);
  });

  it.each([
    ["no upstream", { upstreams: [] }],
    ["validation without anchors", { validation: "yes" }],
    ["a path that would end its quotes", { validation: "yes", trustAnchorsFile: '/a"; };' }],
  ] as const)("refuses %s", (_title, change) => {
    expect(() => renderNamedConf({ ...dnsSettings, ...change })).toThrow(
      expect.objectContaining({ code: "SETTINGS_INVALID", remedy: expect.any(String) }),
    );
  });
});
