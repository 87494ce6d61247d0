import { afterAll, beforeAll, expect, test } from "vitest";
import { sleepMs } from "../../agent/host/clock.ts";
import type { Lab } from "../lab/lab.ts";
import { startLab } from "../lab/lab.ts";
import { PATIENCE } from "../support/eventually.ts";
import { type BothEnds, type Flow, type Flows, startFlows } from "../support/flows.ts";
import { setUpGateway, type TestGateway } from "../support/gateway.ts";
import { type Grant, grants, nameOf, revocationPolicy } from "../support/revocation-policy.ts";

/**
 * Each apply takes one grant away and gives back the one that the apply before took. Of both families, TCP, UDP and TLS
 * through the proxy run under each of them, and under grants that stay.
 */

/** A hundred take some minutes; the way is the same. */
const APPLIES = Number(process.env["CLAWGRESS_APPLIES"] ?? 10);
const BOUND_MS = 1_000;
/**
 * What a message of a flow that stays may take on a machine that does much else; an emulator stands still for seconds. A
 * lost one would take forever, over UDP.
 */
const MAX_WAIT_MS = PATIENCE === 1 ? 500 : 15_000;
const kinds = ["tcp", "udp", "tls"] as const;
const families = [4, 6] as const;
const ports = { tcp: 7100, udp: 7100, tls: 443 } as const;
/** Of the name that loses only ports. */
const otherPorts = { tcp: 7101, udp: 7101 } as const;

/** No grant of the flows: a change that takes it away is rolled back. */
const probed = "health.allowed.test";

function policyWithout(taken: Grant | null, way: 0 | 1 = 0) {
  const policy = revocationPolicy(taken, way);
  return { ...policy, allow: { ...policy.allow, domains: [...policy.allow.domains, probed] } };
}

let lab: Lab;
let gateway: TestGateway;
let flows: Flows;

beforeAll(async () => {
  lab = await startLab();
  // Each flow hears of its end, however many there are.
  await lab.execChecked("gateway", ["sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"]);
  flows = await startFlows(lab, ["a.allowed.test"], ["agent1", "agent2"]);
  const probes = [{ name: "a page", type: "dns", to: probed, host: "*" }];
  gateway = await setUpGateway(lab, { policy: policyWithout(null), threshold: 1, config: { health: { probes } } });
  gateway.start();
  await gateway.awaitStatus(await gateway.head(), ["success"]);
});
afterAll(async () => {
  await lab?.stop();
});

let opened = 0;

/** Opens flows of a client to a name, one of each family and kind. */
async function openAll(
  name: string,
  { node = "agent1", to = ports }: { node?: Flow["node"]; to?: { readonly [kind in Flow["kind"]]?: number } } = {},
): Promise<readonly Flow[]> {
  const rows = families.flatMap((family) => kinds.map((kind) => ({ family, kind })));
  const all = await Promise.all(
    rows.map(async ({ family, kind }) => {
      const port = to[kind];
      if (port === undefined) return [];
      const answer = await lab.client(node).resolve(name, { type: family === 4 ? "A" : "AAAA" });
      const [host] = answer.outcome === "answer" ? answer.addresses : [];
      if (host === undefined) throw new Error(`${name}: ${JSON.stringify(answer)}`);
      opened += 1;
      const flow = { id: `${opened}/${name}/${kind}${family}`, node, kind, host, port, servername: name };
      await flows.open(flow);
      return [flow];
    }),
  );
  return all.flat();
}

interface Times {
  readonly pushedAt: number;
  readonly swappedAt: number;
}

/** Puts a policy without a grant in force and returns when it was pushed, and when it was swapped in. */
async function apply(taken: Grant, way: 0 | 1): Promise<Times> {
  const swaps = async () => (await gateway.log()).filter(({ event }) => event === "apply-swapped");
  const known = (await swaps()).length;
  const commit = await gateway.commit(policyWithout(taken, way), { signers: ["alice"] });
  const pushedAt = Date.now();
  await gateway.awaitStatus(commit, ["success"]);
  const [swap, ...more] = (await swaps()).slice(known);
  expect(more).toEqual([]);
  return { pushedAt, swappedAt: Date.parse(String(swap?.["time"])) };
}

const lastPassed = ({ near, far }: BothEnds): number => Math.max(near.lastAt ?? 0, far.lastAt ?? 0);

/** What is wrong with flows that were taken away, and how long after the swap anything still passed. */
async function judgeRevoked(gone: readonly Flow[], { pushedAt, swappedAt }: Times) {
  const ends = await flows.read(gone);
  const wrong = ends.flatMap((both, index) => {
    const id = gone[index]?.id;
    const { near, far } = both;
    return [
      ...(lastPassed(both) < pushedAt ? [`${id} was over before it was taken away`] : []),
      ...(lastPassed(both) - swappedAt < BOUND_MS ? [] : [`${id} lived ${lastPassed(both) - swappedAt} ms`]),
      ...(near.endedAt === null ? [`${id} was not told (near ${near.received}, far ${far.received})`] : []),
      ...((near.endedAt ?? 0) - swappedAt < BOUND_MS
        ? []
        : [`${id} was told after ${(near.endedAt ?? 0) - swappedAt} ms`]),
    ];
  });
  const told = ends.map(({ near }) => (near.endedAt ?? Number.POSITIVE_INFINITY) - swappedAt);
  return { wrong, livedMs: Math.max(...ends.map((both) => lastPassed(both) - swappedAt)), toldMs: Math.max(...told) };
}

/** How many datagrams had come, and found no room in front of a program that was too slow: an emulated one is. */
async function countOverflows(): Promise<number> {
  const nodes = ["internet", "agent1", "agent2"] as const;
  const argv = ["nstat", "-asz", "UdpRcvbufErrors", "Udp6RcvbufErrors"];
  const texts = await Promise.all(nodes.map((node) => lab.execChecked(node, argv)));
  const counts = texts.flatMap((text) =>
    [...text.matchAll(/^Udp6?RcvbufErrors +(\d+)/gm)].map(([, count]) => Number(count)),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

/** What is wrong with flows that nothing was taken from: once both ends are silent, all that was said has been heard. */
async function judgeKept(kept: readonly Flow[]) {
  await flows.hush(kept);
  await sleepMs(300 * PATIENCE);
  const ends = await flows.read(kept);
  const lostOf = ({ near, far }: BothEnds) => [near.sent - far.received, far.sent - near.received] as const;
  const allLost = ends.flatMap(lostOf).reduce((sum, count) => sum + count, 0);
  const isOverflow = allLost > 0 && allLost <= (await countOverflows());
  const wrong = ends.flatMap((both, index) => {
    const { near, far } = both;
    const id = kept[index]?.id;
    const lost = isOverflow ? [0, 0] : lostOf(both);
    const waits = [near.longestWaitMs, far.longestWaitMs];
    return [
      ...(near.how === null && far.how === null ? [] : [`${id} ended: ${near.how}, ${far.how}`]),
      ...(lost.every((count) => count === 0) ? [] : [`${id} lost ${lost.join(" and ")} messages`]),
      ...(Math.max(...waits) < MAX_WAIT_MS ? [] : [`${id} waited ${waits.join(" and ")} ms`]),
    ];
  });
  const longestWaitMs = Math.max(...ends.flatMap(({ near, far }) => [near.longestWaitMs, far.longestWaitMs]));
  return { wrong, longestWaitMs, messages: ends.reduce((sum, { far }) => sum + far.received, 0) };
}

test(
  "a change that is rolled back ends nothing that is allowed before and after",
  async () => {
    const kept = [...(await openAll("a.allowed.test")), ...(await openAll("r2.race.test"))];
    const { allow, ...rest } = revocationPolicy(null);
    const networks = Array.from({ length: 200 }, (_, index) => `198.51.100.${index}/32`);
    const before = (await gateway.log()).length;
    const commit = await gateway.commit({ ...rest, allow: { ...allow, ips: networks } }, { signers: ["alice"] });
    await gateway.awaitStatus(commit, ["failure", "error"]);
    const events = (await gateway.log()).slice(before);
    expect(events.filter(({ event }) => event === "rules-changed")).toMatchObject([{ whole: false }, { whole: false }]);
    expect(events.map(({ event }) => event)).toEqual(expect.arrayContaining(["apply-swapped", "apply-reverted"]));
    expect((await judgeKept(kept)).wrong).toEqual([]);
  },
  60_000 * PATIENCE,
);

test(
  `through ${APPLIES} applies in a row, what each takes away ends within a second of the swap, and nothing else notices`,
  async () => {
    const before = (await gateway.log()).length;
    const kept = [
      ...(await openAll("a.allowed.test")),
      ...(await openAll("r2.race.test")),
      ...(await openAll(nameOf.ports, { to: otherPorts })),
      ...(await openAll(nameOf.entry, { node: "agent2" })),
      ...(await openAll(nameOf.client, { node: "agent2" })),
    ];
    const running = new Map<Grant, readonly Flow[]>();
    for (const grant of grants) running.set(grant, await openAll(nameOf[grant]));
    const found: Awaited<ReturnType<typeof judgeRevoked>>[] = [];
    let away: Grant | null = null;
    for (let count = 0; count < APPLIES; count += 1) {
      const taken = grants[count % grants.length] as Grant;
      const times = await apply(taken, Math.floor(count / grants.length) % 2 === 0 ? 0 : 1);
      // What was given back is used at once, and until it goes again.
      if (away !== null) running.set(away, await openAll(nameOf[away]));
      away = taken;
      await sleepMs(Math.max(0, times.swappedAt + BOUND_MS + 200 - Date.now()));
      const gone = running.get(taken) ?? [];
      found.push(await judgeRevoked(gone, times));
      await flows.hush(gone);
      expect(found.at(-1)?.wrong, `apply ${count + 1} took the ${taken}`).toEqual([]);
    }
    if (away !== null) running.delete(away);
    const stayed = await judgeKept([...kept, ...[...running.values()].flat()]);
    console.log(
      `${APPLIES} applies: revoked flows lived ${Math.max(...found.map(({ livedMs }) => livedMs))} ms at most and were told ` +
        `after ${Math.max(...found.map(({ toldMs }) => toldMs))} ms; of ${stayed.messages} messages of others none waited ` +
        `longer than ${stayed.longestWaitMs} ms`,
    );
    expect(stayed.wrong).toEqual([]);
    // Whatever is put right is put right as a whole, and would hide what an apply itself does.
    const events = (await gateway.log()).slice(before);
    expect(events.filter(({ event }) => /^drift|^rolled|^revert/.test(event))).toEqual([]);
  },
  (60_000 + APPLIES * 10_000) * PATIENCE,
);
