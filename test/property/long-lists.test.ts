import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readGateRelease, storeRelease } from "../../agent/apply/release-store.ts";
import { compile } from "../../agent/compile/compile.ts";
import { createCompileMemory } from "../../agent/compile/memory.ts";
import type { Release } from "../../agent/compile/release.ts";
import { MAX_WHOLE_NAMES, SHARDS, shardNamesFile, shardZoneFile } from "../../agent/compile/shards.ts";
import { indexPolicy, loadPolicy } from "../../agent/gate/active-policy.ts";
import { parsePolicy } from "../../agent/policy/parse-policy.ts";
import type { PolicyResult } from "../../agent/policy/policy.ts";
import { createPolicyMemory, type PolicyMemory } from "../../agent/policy/policy-memory.ts";
import { createProxyJudge } from "../../agent/report/proxy-judge.ts";
import { settingsWith } from "../support/compile-samples.ts";
import { surroundings } from "../support/surroundings.ts";

const many = Array.from(
  { length: MAX_WHOLE_NAMES + 50 },
  (_, index) => `host-${index}.service-${index % 7}.example.com`,
);

type Entry = string | { readonly domain: string; readonly ports?: readonly number[]; readonly label?: string };

interface Written {
  readonly names: readonly Entry[];
  readonly labels: { readonly [entry: string]: string };
  readonly ports: readonly (number | string)[];
  readonly deny: readonly string[];
  readonly subdomains: boolean;
}

const first: Written = { names: many, labels: {}, ports: [443], deny: [], subdomains: false };

/** What people do to a list, at a random place of it. */
const edit = fc.record({
  kind: fc.constantFrom(
    ...(["insert", "replace", "remove", "repeat", "wrong", "wildcard", "object", "move", "warned", "swap"] as const),
    ...(["label", "ports", "deny", "shorten", "subdomains"] as const),
  ),
  at: fc.nat({ max: MAX_WHOLE_NAMES }),
  name: fc.constantFrom("new.example.com", "host-9.service-2.example.com", "z.test", "service-3.example.com"),
});

function editList(
  { names }: Written,
  { kind, at, name }: { kind: string; at: number; name: string },
): readonly Entry[] {
  const spot = Math.min(at, names.length - 1);
  switch (kind) {
    case "insert":
      return names.toSpliced(spot, 0, name);
    case "replace":
      return names.toSpliced(spot, 1, name);
    case "remove":
      return names.toSpliced(spot, 1);
    case "repeat":
      return [...names, names[spot] as Entry];
    case "wrong":
      return names.toSpliced(spot, 0, "not a name");
    case "warned":
      return names.toSpliced(spot, 0, "*.github.io");
    case "wildcard":
      return names.toSpliced(spot, 0, `*.${name}`);
    case "object":
      return names.toSpliced(spot, 1, { domain: name, ports: [8443], label: "own" });
    case "swap": {
      const other = (spot * 7) % names.length;
      return names.with(spot, names[other] as Entry).with(other, names[spot] as Entry);
    }
    case "move":
      return [...names.slice(spot), ...names.slice(0, spot)];
    case "shorten":
      return names.slice(0, MAX_WHOLE_NAMES - 5);
    default:
      return names;
  }
}

function apply(written: Written, change: { kind: string; at: number; name: string }): Written {
  const { kind, name } = change;
  return {
    names: editList(written, change),
    labels: kind === "label" ? { ...written.labels, [name]: `label-${change.at}` } : written.labels,
    ports: kind === "ports" ? [443, "8000-8010"] : written.ports,
    deny: kind === "deny" ? [...written.deny, name] : written.deny,
    subdomains: kind === "subdomains" ? !written.subdomains : written.subdomains,
  };
}

function textOf({ names, labels, ports, deny, subdomains }: Written): Buffer {
  const used = Object.entries(labels).filter(([entry]) => names.includes(entry));
  const host = { sources: ["10.0.0.7"], allow: { inherit: true, domains: ["only.h7.test"] } };
  const document = {
    version: 1,
    allow: { domains: names, ports, ...(subdomains ? { subdomains } : {}) },
    labels: Object.fromEntries(used),
    ...(deny.length === 0 ? {} : { deny: { domains: [...new Set(deny)] } }),
    hosts: { h7: host },
  };
  return Buffer.from(JSON.stringify(document, null, 1));
}

const read = (written: Written, memory?: PolicyMemory): PolicyResult =>
  parsePolicy(textOf(written), "policy.json", { maxBytes: 8_000_000, ...(memory === undefined ? {} : { memory }) });

describe("a long list that changes", () => {
  it("is read and compiled to the same bytes, whatever was read and compiled before", () => {
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 5 }), (edits) => {
        const memory = { read: createPolicyMemory(), compiled: createCompileMemory() };
        let written = first;
        for (const change of [null, ...edits]) {
          if (change !== null) written = apply(written, change);
          const result = read(written, memory.read);
          expect(result).toEqual(read(written));
          if (!result.ok) continue;
          const settings = settingsWith();
          const quick = compile({ policy: result.policy, settings, memory: memory.compiled });
          const whole = compile({ policy: result.policy, settings });
          expect(quick.digest).toBe(whole.digest);
          for (const [index, { path, bytes, digest }] of quick.artifacts.entries()) {
            expect(path).toBe(whole.artifacts[index]?.path);
            expect(digest).toBe(whole.artifacts[index]?.digest);
            expect(bytes.equals(whole.artifacts[index]?.bytes ?? Buffer.of())).toBe(true);
          }
        }
      }),
      {
        numRuns: 6,
        // A wildcard takes names out of shards that it is not in itself, and gives them back.
        examples: [
          [
            [
              { kind: "wildcard", at: 3, name: "service-3.example.com" },
              { kind: "remove", at: 3, name: "z.test" },
            ],
          ],
        ],
      },
    );
  }, 120_000);
});

function releaseOf(written: Written): Release {
  const result = read(written);
  if (!result.ok) throw new Error(result.issues[0]?.message);
  return compile({ policy: result.policy, settings: settingsWith() });
}

const provenance = { commit: "a".repeat(40), serial: 1, repository: "r", approvedBy: [] };
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "clawgress-long-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("a long list on disk", () => {
  const old = releaseOf(first);
  const written = apply(apply(first, { kind: "replace", at: 9, name: "new.example.com" }), {
    kind: "deny",
    at: 0,
    name: "z.test",
  });
  const next = releaseOf(written);

  it("is cut so that one name changes one file of names and at most two zones", () => {
    const changed = (fileOf: (shard: number) => string): number =>
      SHARDS.filter((shard) => {
        const digest = ({ artifacts }: Release) => artifacts.find(({ path }) => path === fileOf(shard))?.digest;
        return digest(old) !== digest(next);
      }).length;
    expect(changed(shardZoneFile)).toBeGreaterThan(0);
    expect(changed(shardZoneFile)).toBeLessThanOrEqual(2);
    expect(changed(shardNamesFile)).toBeLessThanOrEqual(2);
  });

  it("is put together again as it was, and shares with an earlier release what did not change", async () => {
    const stored = await storeRelease(folder, old, provenance);
    const later = await storeRelease(folder, next, provenance, old.digest);
    for (const [release, at] of [
      [old, stored],
      [next, later],
    ] as const) {
      const { shardCanaries, ...gate } = await readGateRelease(at);
      expect({ ...gate, shardCanaries }).toEqual({ ...release.gate });
    }
    const inodes = await Promise.all(
      SHARDS.map(async (shard) => {
        const [a, b] = await Promise.all(
          [stored, later].map(async (at) => (await stat(join(at.folder, shardNamesFile(shard)))).ino),
        );
        return a === b;
      }),
    );
    expect(inodes.filter(Boolean).length).toBeGreaterThanOrEqual(SHARDS.length - 2);
  });

  it("is judged by the gate as the whole of it is, on the way from one release to the next", async () => {
    const stored = await storeRelease(folder, old, provenance);
    const later = await storeRelease(folder, next, provenance, old.digest);
    const inForce = await loadPolicy(stored.folder, surroundings());
    const quick = await loadPolicy(later.folder, surroundings(), inForce);
    const shared =
      quick.shards?.parts.filter((part, shard) => part.tables === inForce.shards?.parts[shard]?.tables) ?? [];
    expect(shared.length).toBeGreaterThanOrEqual(SHARDS.length - 2);
    const whole = indexPolicy({ digest: "d", folder: "/r", release: next.gate, provenance }, surroundings());
    const names = ["new.example.com", "z.test", "sub.new.example.com", "no.test", "only.h7.test"];
    for (const name of [...names, ...many.slice(0, 40), ...many.slice(0, 40).map((one) => `www.${one}`)]) {
      for (const client of ["10.0.0.7", "10.0.0.8"]) {
        const [a, b] = [quick, whole].map((policy) => policy.decider.decideName(policy.clientOf(client), name));
        const rule = (decision: typeof a) =>
          (decision?.verdict === "allow" ? decision.rule : decision?.nearRule) ?? null;
        expect([a?.verdict, a?.verdict === "deny" ? [a.reason, a.nearMiss] : a?.ports]).toEqual([
          b?.verdict,
          b?.verdict === "deny" ? [b.reason, b.nearMiss] : b?.ports,
        ]);
        const [ours, theirs] = [rule(a), rule(b)];
        expect(ours === null).toBe(theirs === null);
        if (ours !== null && theirs !== null) expect(quick.placeOf(ours)).toEqual(theirs.place);
      }
    }
  });

  it("is what the proxy's lines are judged by", async () => {
    await storeRelease(folder, old, provenance);
    const about = join(folder, "about.map");
    await writeFile(about, `release ${old.digest}\n`);
    const decider = await createProxyJudge(folder, about).deciderOf(provenance.commit);
    const anyone = decider?.clientNamed("*");
    if (!decider || !anyone) throw new Error("the release cannot be read");
    expect(decider.decideName(anyone, many[7] as string).verdict).toBe("allow");
    expect(decider.decideName(anyone, "no.test").verdict).toBe("deny");
  });

  it("is refused by the gate when a file of it is damaged", async () => {
    const other = join(folder, "damaged");
    const stored = await storeRelease(other, old, provenance);
    await writeFile(join(stored.folder, shardNamesFile(3)), "{}\n");
    await expect(loadPolicy(stored.folder, surroundings())).rejects.toThrow(
      "names-03.json is not what manifest.json lists",
    );
  });
});
