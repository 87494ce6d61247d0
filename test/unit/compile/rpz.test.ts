import { describe, expect, it } from "vitest";
import { renderZones } from "../../../agent/compile/rpz.ts";
import { AgentError } from "../../../agent/errors.ts";
import type { NamePattern, Policy } from "../../../agent/policy/policy.ts";
import { policyOf } from "../../support/compile-samples.ts";

function ownersOf(...domains: readonly string[]): readonly string[] {
  return recordsOf(renderZones(policyOf({ version: 1, allow: { domains } })).allow);
}

/** Owners of the records, but for the reverse names that are in every allow zone. */
function recordsOf(zone: string): readonly string[] {
  const owners = zone
    .split("\n")
    .flatMap((line) => (line.includes(" CNAME ") ? [line.slice(0, line.indexOf(" CNAME "))] : []));
  return owners.filter((owner) => !/^\*\.(?:in-addr|ip6)\.arpa$/.test(owner));
}

/** A policy with one name that the parser might have let through. */
function policyNaming(name: string, kind: NamePattern["kind"] = "exact", file = "policy.json"): Policy {
  const place = { file, line: 7, column: 5, pointer: "/allow/domains/0" };
  const rule = { pattern: { kind, name: name as never }, ports: [], label: null, place };
  return {
    version: 1,
    mode: "enforce",
    groups: [{ name: "*", names: [rule], networks: [], isProxied: false, place }],
    hosts: [],
    limits: null,
  };
}

function refusalOf(policy: Policy): AgentError {
  try {
    renderZones(policy);
  } catch (error) {
    if (error instanceof AgentError) return error;
    throw error;
  }
  throw new Error("was not refused");
}

describe("the allow zone", () => {
  it.each([
    ["an exact name opens itself alone", ["api.example.com"], ["api.example.com"]],
    ["a wildcard opens subdomains, not the apex", ["*.example.com"], ["*.example.com"]],
    ["both are two records", ["example.com", "*.example.com"], ["*.example.com", "example.com"]],
    ["a name below a wildcard would be a hole in it", ["*.example.com", "a.b.example.com"], ["*.example.com"]],
    ["so would a wildcard below a wildcard", ["*.example.com", "*.b.example.com"], ["*.example.com"]],
    ["names that end alike are not below", ["*.example.com", "notexample.com"], ["*.example.com", "notexample.com"]],
  ])("%s", (_title, domains, owners) => expect(ownersOf(...domains)).toEqual(owners));

  it("traces each record to the line of the policy", () => {
    expect(renderZones(policyNaming("api.example.com")).allow).toContain(
      "api.example.com CNAME rpz-passthru. ; policy.json:7\n",
    );
  });

  it("is the union of all groups", () => {
    const policy = policyOf({
      version: 1,
      allow: { domains: ["a.example.com"] },
      hosts: { h: { sources: ["10.0.0.1"], allow: { domains: ["b.example.com"] } } },
    });
    expect(recordsOf(renderZones(policy).allow)).toEqual(["a.example.com", "b.example.com"]);
  });

  it("has another serial and canary when a name changes, the same when only lines move", () => {
    const [one, moved, other] = [
      renderZones(policyNaming("a.example.com")),
      renderZones(policyNaming("a.example.com", "exact", "other.json")),
      renderZones(policyNaming("b.example.com")),
    ];
    expect(moved.canary).toBe(one.canary);
    expect(moved.allowSerial).toBe(one.allowSerial);
    expect(other.canary).not.toBe(one.canary);
    expect(other.allowSerial).not.toBe(one.allowSerial);
    expect(one.allow).toContain(`release.canary.clawgress.invalid TXT "${one.canary}"\n`);
  });

  it("lets the gate ask for reverse names, but under deny-all", () => {
    const policy = policyNaming("a.example.com");
    expect(renderZones(policy).allow).toMatch(
      /^\*\.in-addr\.arpa CNAME rpz-passthru\..*\n\*\.ip6\.arpa CNAME rpz-passthru\./m,
    );
    expect(renderZones({ ...policy, mode: "deny-all" }).allow).not.toContain("arpa");
  });

  it("is empty but for its canary under deny-all", () => {
    const zones = renderZones({ ...policyNaming("a.example.com"), mode: "deny-all" });
    expect(recordsOf(zones.allow)).toEqual([]);
    expect(zones.allow).toContain(" TXT ");
  });
});

describe("the deny zone", () => {
  it("holds the wildcard and nothing else, whatever the policy says", () => {
    const zones = [renderZones(policyNaming("a.example.com")), renderZones(policyNaming("example.com", "subdomains"))];
    expect(new Set(zones.map(({ deny }) => deny)).size).toBe(1);
    expect(recordsOf(zones[0]?.deny ?? "")).toEqual(["*"]);
  });
});

describe("names that cannot stand in the zone are refused with their place", () => {
  /** Labels of up to 60 letters, `length` characters in all. */
  const long = (length: number): string => `${"a".repeat(60)}.`.repeat(5).slice(-length - 1, -1);
  it.each<[string, string, NamePattern["kind"], RegExp]>([
    ["instructions to the resolver", "32.1.2.0.192.rpz-client-ip", "exact", /instructions/],
    ["address instructions", "24.0.2.0.192.rpz-ip", "subdomains", /instructions/],
    ["the canaries", "release.canary.clawgress.invalid", "exact", /kept for/],
    ["parents of the canaries", "clawgress.invalid", "subdomains", /kept for/],
    ["everything under .invalid", "invalid", "subdomains", /kept for/],
    ["226 characters", `${long(222)}.com`, "exact", /holds at most 225/],
    ["224 characters and a wildcard", `${long(220)}.com`, "subdomains", /holds at most 225/],
  ])("%s", (_title, name, kind, message) => {
    const error = refusalOf(policyNaming(name, kind));
    expect(error.code).toBe("POLICY_INVALID");
    expect(error.message).toMatch(/^policy\.json:7:5: /);
    expect(error.message).toMatch(message);
    expect(error.remedy).not.toBeNull();
    expect(error.details["pointer"]).toBe("/allow/domains/0");
  });

  it("225 characters fit", () => {
    expect(recordsOf(renderZones(policyNaming(`${long(221)}.com`)).allow)).toHaveLength(1);
  });
});
