import { describe, expect, test } from "vitest";
import { groupMarks } from "../../../agent/compile/grants.ts";
import { portClasses } from "../../../agent/compile/port-classes.ts";
import { type ActivePolicy, indexPolicy } from "../../../agent/gate/active-policy.ts";
import type { LiveGrant } from "../../../agent/gate/grant-table.ts";
import { findGroupMoves } from "../../../agent/gate/group-moves.ts";
import type { PortRange } from "../../../agent/policy/policy.ts";
import { policyOf } from "../../support/compile-samples.ts";
import { surroundings } from "../../support/surroundings.ts";

function active(document: object): ActivePolicy {
  const policy = policyOf(document);
  const release = {
    ...{ schema: 1 as const, policy, canary: "c", blockCanary: "b", probes: [] },
    groups: Object.fromEntries(groupMarks(policy)),
    classes: portClasses(policy),
  };
  const provenance = { commit: "abc", serial: 7, repository: "r", approvedBy: [] };
  return indexPolicy({ digest: "d", folder: "/r", release, provenance }, surroundings());
}

const allow = { domains: ["a.test"], ports: [443] };
const everyone = active({ version: 1, allow });
const withOwn = active({
  version: 1,
  allow,
  hosts: { one: { sources: ["10.0.0.1", "fd00::1"], allow }, two: { sources: ["10.0.1.0/24"], allow } },
});

describe("findGroupMoves", () => {
  const target = (policy: ActivePolicy, groupName: string) => ({
    groupName,
    groupMark: policy.release.groups[groupName],
  });
  const mark = (policy: ActivePolicy, groupName: string): number => policy.release.groups[groupName] ?? 0;

  test("leads a group to those that members of it come to", () => {
    const all = mark(everyone, "*");
    expect([...findGroupMoves(everyone, withOwn)]).toEqual([[all, [target(withOwn, "one"), target(withOwn, "two")]]]);
    const back = [target(everyone, "*")];
    expect([...findGroupMoves(withOwn, everyone)]).toEqual([
      [mark(withOwn, "one"), back],
      [mark(withOwn, "two"), back],
    ]);
  });

  test("names no group that nobody leaves", () => {
    const other = active({ version: 1, allow: { domains: ["b.test"], ports: [80] } });
    expect(findGroupMoves(withOwn, withOwn).size).toBe(0);
    expect(findGroupMoves(everyone, other).size).toBe(0);
  });
});

describe("a running flow stands", () => {
  const range = (first: number, last = first, protocol: "tcp" | "udp" = "tcp"): PortRange => ({
    protocol,
    first,
    last,
  });
  const stands = (policy: ActivePolicy, name: string, ports: PortRange): boolean =>
    policy.stands({
      groupName: "*",
      groupMark: policy.release.groups["*"] ?? 0,
      grant: { mark: 70_000, name, range: ports },
    } satisfies LiveGrant);
  const wider = active({ version: 1, allow: { domains: ["a.test"], ports: ["440-450", "80/udp"] } });

  test.each([
    ["on the ports that are written", range(440, 450), true],
    ["on a port that is written wider now", range(443), true],
    ["not beyond what is written", range(443, 451), false],
    ["not over another protocol", range(443, 443, "udp"), false],
    ["over the protocol that is written", range(80, 80, "udp"), true],
  ])("%s", (_title, ports, isStanding) => {
    expect(stands(wider, "a.test", ports)).toBe(isStanding);
    expect(stands(wider, "b.test", ports)).toBe(false);
  });
});
