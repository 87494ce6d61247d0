import { describe, expect, it } from "vitest";
import { appliedLive } from "../../../agent/compile/applied-live.ts";
import { groupMarks, nameGrantText, networkGrants, networkGrantText } from "../../../agent/compile/grants.ts";
import { liveDelta } from "../../../agent/compile/live-delta.ts";
import { AUDIT_GRANT, GROUP_MAX, NETWORK_GRANT_MAX, NETWORK_GRANT_MIN } from "../../../agent/compile/marks.ts";
import type { Policy } from "../../../agent/policy/policy.ts";
import { policyOf } from "../../support/compile-samples.ts";

function policyWith(ips: readonly string[], ports: readonly (number | string)[] = [443], hosts: object = {}): Policy {
  return policyOf({ version: 1, allow: { ips, domains: ["a.example.com"], ports }, hosts });
}

const https = { protocol: "tcp", first: 443, last: 443 } as const;

describe("grants", () => {
  it("are named by the target and the ports as written", () => {
    expect(nameGrantText("api.example.com", { protocol: "udp", first: 8000, last: 8100 })).toBe(
      "name api.example.com 8000-8100/udp",
    );
    expect(networkGrantText("192.0.2.0/24" as never, https)).toBe("network 192.0.2.0/24 443/tcp");
  });

  it("of networks keep their numbers when others come and go", () => {
    const text = networkGrantText("203.0.113.0/24" as never, https);
    const alone = networkGrants(policyWith(["203.0.113.0/24"])).get(text);
    const among = networkGrants(policyWith(["203.0.113.0/24", "198.51.100.0/24", "2001:db8::/32"], [22, 443])).get(
      text,
    );
    expect(among).toBe(alone);
    expect(alone).toBeGreaterThanOrEqual(NETWORK_GRANT_MIN);
    expect(alone).toBeLessThanOrEqual(NETWORK_GRANT_MAX);
  });

  it("of groups keep their numbers when others come and go", () => {
    const host = (address: string): object => ({ sources: [address], allow: { domains: ["b.example.com"] } });
    const one = groupMarks(policyWith([], [443], { a: host("10.0.0.1") }));
    const more = groupMarks(policyWith([], [443], { "0": host("10.0.0.3"), a: host("10.0.0.1"), z: host("10.0.0.2") }));
    for (const name of ["*", "a"]) {
      expect(more.get(name)).toBe(one.get(name));
      expect(one.get(name)).toBeLessThanOrEqual(GROUP_MAX);
    }
    expect(new Set(more.values()).size).toBe(4);
  });
});

describe("appliedLive", () => {
  it("is one pair for each group, network and range", () => {
    const policy = policyWith(["203.0.113.0/24", "2001:db8::/32"], [80, "443/udp"], {
      h: { sources: ["10.0.0.1"], allow: { ips: ["203.0.113.0/24"], ports: [80] } },
    });
    expect(appliedLive(policy)).toHaveLength(5);
  });
  it("has each audited group", () => {
    const policy = policyWith(["203.0.113.0/24"], [80], { h: { sources: ["10.0.0.1"], mode: "audit" } });
    expect(appliedLive(policy).filter(({ grant }) => grant === AUDIT_GRANT)).toEqual([
      { group: groupMarks(policy).get("h"), grant: AUDIT_GRANT },
    ]);
  });
  it("is empty under deny-all", () => {
    const policy = policyWith(["203.0.113.0/24"], [80], { h: { sources: ["10.0.0.1"], mode: "audit" } });
    expect(appliedLive({ ...policy, mode: "deny-all" })).toEqual([]);
  });
});

describe("liveDelta", () => {
  const pair = (group: number, grant: number) => ({ group, grant: NETWORK_GRANT_MIN + grant });
  const add = (...lines: readonly string[]): string => `add element inet clawgress live {\n${lines.join(",\n")}\n}\n`;
  const remove = (...lines: readonly string[]): string => add(...lines).replace(/^add/, "delete");
  it.each([
    ["nothing to do", [pair(1, 1)], [pair(1, 1)], ""],
    ["first load", [], [pair(1, 2), pair(1, 1)], add("0x00000001 . 0x40000001", "0x00000001 . 0x40000002")],
    ["all gone", [pair(1, 1)], [], remove("0x00000001 . 0x40000001")],
    [
      "takes away before it gives",
      [pair(1, 1), pair(1, 2)],
      [pair(1, 2), pair(2, 1)],
      remove("0x00000001 . 0x40000001") + add("0x00000002 . 0x40000001"),
    ],
    [
      "leaves grants of names alone",
      [
        { group: 1, grant: 0x0001_0000 },
        { group: 1, grant: 0x3fff_ffff },
      ],
      [],
      "",
    ],
    ["repeated pairs are one", [], [pair(1, 1), pair(1, 1)], add("0x00000001 . 0x40000001")],
  ])("%s", (_title, kernel, wanted, text) => expect(liveDelta(kernel, wanted)).toEqual({ now: text, later: "" }));

  it("ends an audit when the gate has the policy, and begins one with the table", () => {
    const audit = (group: number) => ({ group, grant: AUDIT_GRANT });
    expect(liveDelta([audit(1), pair(1, 1)], [audit(2)])).toEqual({
      now: remove("0x00000001 . 0x40000001") + add("0x00000002 . 0xffffffff"),
      later: remove("0x00000001 . 0xffffffff"),
    });
  });

  it("refuses to own what belongs to the gate", () => {
    expect(() => liveDelta([], [{ group: 1, grant: 0x0001_0000 }])).toThrow(RangeError);
    expect(() => liveDelta([], [{ group: 0, grant: NETWORK_GRANT_MIN }])).toThrow(RangeError);
  });
});
