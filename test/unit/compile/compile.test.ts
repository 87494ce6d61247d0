import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { canonicalJson } from "../../../agent/compile/canonical-json.ts";
import { compile } from "../../../agent/compile/compile.ts";
import type { GateRelease } from "../../../agent/compile/release.ts";
import type { Policy } from "../../../agent/policy/policy.ts";
import { artifactText, policyOf, settingsWith } from "../../support/compile-samples.ts";

const document = {
  version: 1,
  allow: {
    domains: ["api.example.com", "*.cdn.example.com"],
    ips: ["203.0.113.0/24", "2001:db8::/32"],
    ports: [443, "53/udp"],
  },
  hosts: {
    agent: { sources: ["10.0.0.1", "10.1.0.0/16"], allow: { ips: ["203.0.113.7"], ports: ["1-1024", 443] } },
    other: { sources: ["10.1.2.0/24"] },
  },
};
const policy = policyOf(document);
const settings = settingsWith(["agent"]);

function reverseKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reverseKeys);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, inner]) => [key, reverseKeys(inner)]),
  );
}

describe("compile", () => {
  const release = compile({ policy, settings });

  it("gives the files of the contract, sorted", () => {
    expect(release.artifacts.map(({ path }) => path)).toEqual([
      "allow.zone",
      "block.zone",
      "deny.zone",
      "gate.json",
      "manifest.json",
      "named.conf",
      "policy.nft",
    ]);
  });

  it("lists the digest of every other file in the manifest, whose digest is the release's", () => {
    const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
    const manifest = JSON.parse(artifactText(release, "manifest.json")) as { [path: string]: string };
    const others = release.artifacts.filter(({ path }) => path !== "manifest.json");
    expect(manifest).toEqual(Object.fromEntries(others.map(({ path, bytes }) => [path, sha256(bytes)])));
    expect(release.digest).toBe(sha256(Buffer.from(artifactText(release, "manifest.json"))));
  });

  it("gives the same bytes for the same policy, however its objects were built", () => {
    const rebuilt = reverseKeys(policy) as Policy;
    expect(Object.keys(rebuilt)).not.toEqual(Object.keys(policy));
    expect(compile({ policy: rebuilt, settings })).toEqual(release);
  });

  it("gives another digest for another policy or other settings", () => {
    const others = [
      compile({ policy: policyOf({ ...document, allow: { ...document.allow, ports: [443] } }), settings }),
      compile({ policy, settings: settingsWith(["agent"], { namedPort: 5399 }) }),
      compile({ policy, settings: settingsWith() }),
    ];
    expect(new Set([release, ...others].map(({ digest }) => digest)).size).toBe(4);
  });

  it("tells the gate its groups, classes, canary and probes", () => {
    const gate = JSON.parse(artifactText(release, "gate.json")) as GateRelease;
    expect(gate.policy).toEqual(policy);
    expect(Object.keys(gate.groups)).toEqual(["*", "agent"]);
    expect(gate.classes.map(({ protocol, first, last }) => `${first}-${last}/${protocol}`)).toEqual([
      "1-442/tcp",
      "443-443/tcp",
      "444-1024/tcp",
      "53-53/udp",
    ]);
    expect(artifactText(release, "allow.zone")).toContain(gate.canary);
    expect(gate.probes.filter(({ host }) => host === "agent")).toHaveLength(2);
  });

  it("writes no rule under deny-all, though the policy lists some", () => {
    const closed = compile({ policy: { ...policy, mode: "deny-all" }, settings });
    for (const path of ["allow.zone", "policy.nft", "gate.json"]) {
      expect(artifactText(closed, path)).not.toMatch(/api\.example\.com|203\.0\.113/);
    }
    expect(artifactText(release, "gate.json")).toMatch(/api\.example\.com/);
  });
});

describe("canonicalJson", () => {
  it.each<[unknown, string]>([
    [{ b: 1, a: [true, null, "x\n"], B: {} }, '{"B":{},"a":[true,null,"x\\n"],"b":1}'],
    [[], "[]"],
    [{ ä: 1, z: 2 }, '{"z":2,"ä":1}'],
    [{ "a\n": 1, b: 2 }, '{"a\\n":1,"b":2}'],
    [[{ a: 1 }, { a: 2 }, { b: 3 }], '[{"a":1},{"a":2},{"b":3}]'],
  ])("%j", (value, text) => {
    expect(canonicalJson(value)).toBe(`${text}\n`);
    expect(JSON.parse(canonicalJson(value))).toEqual(value);
  });
});
