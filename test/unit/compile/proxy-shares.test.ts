import { describe, expect, it, test } from "vitest";
import { renderProxyConf } from "../../../agent/compile/haproxy.ts";
import { settingsWith } from "../../support/compile-samples.ts";

const conf = renderProxyConf(settingsWith()).split("\n");
const { maxConnections: most, maxConnectionsPerClient: mostOfClient } = settingsWith().proxy;

test("no frontend is ever full, and the whole proxy has room for all of them and the relay", () => {
  const [whole = 0, each = 0] = conf.flatMap((line) =>
    line.startsWith("\tmaxconn ") ? [Number(line.split(" ")[1])] : [],
  );
  expect(each).toBeGreaterThan(most);
  // Each frontend has a few at its door besides, and the relay as many as there are in all.
  expect(whole).toBeGreaterThanOrEqual(2 * most + 4 * (each - most));
});

test("each frontend judges at its door, before anything is read", () => {
  const starts = conf.flatMap((line, index) => (/^frontend (tls|http)[46]$/.test(line) ? [index] : []));
  expect(starts).toHaveLength(4);
  for (const start of starts) {
    const rules = conf.slice(start).filter((line) => line.startsWith("\ttcp-request connection"));
    expect(rules[0]).toContain("track-sc0 src table clients");
    expect(rules.findIndex((line) => line.includes("reject"))).toBeGreaterThan(0);
  }
});

/** Lets clients open one connection after the other, in turn, until the rules refuse all of them. */
function fill(groups: readonly (readonly number[])[]): number[][] {
  const line = conf.find((text) => text.includes("set-var(sess.left)")) ?? "";
  const [, total, times] = /int\((\d+)\),sub\(sess\.carried\),mul\((\d+)\)/.exec(line) ?? [];
  const few = Number(/sc0_conn_cur gt (\d+) \} \{ var\(sess\.left\)/.exec(conf.join("\n"))?.[1]);
  const parts = Number(/sc0_conn_cur,mul\((\d+)\)/.exec(conf.join("\n"))?.[1]);
  const held = groups.map((clients) => clients.map(() => 0));
  const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);
  const open = (group: number, client: number): boolean => {
    const clients = held[group] ?? [];
    const had = clients[client] ?? 0;
    clients[client] = had + 1;
    const left = (Number(total) - sum(held.map(sum))) * Number(times) - sum(clients) - (had + 1) * parts;
    const isHalf = left - (Number(times) - 1) * sum(clients) < 0;
    const isMany = left < 0 || had + 1 > mostOfClient || (had + 1 > few && isHalf);
    if (isMany) clients[client] = had;
    return !isMany;
  };
  for (const [group, clients] of groups.entries()) {
    for (const [client, wanted] of clients.entries()) {
      let opened = 0;
      while (opened < wanted && open(group, client)) opened += 1;
    }
  }
  return held;
}

describe("the shares", () => {
  const greedy = (clients: number): number[] => Array<number>(clients).fill(most);
  const total = (held: readonly number[]): number => held.reduce((sum, one) => sum + one, 0);

  it("leave a quarter to others, however many addresses a group has, and half if they are few", () => {
    for (const clients of [10, 100, 700]) {
      const [held = []] = fill([greedy(clients)]);
      expect(total(held)).toBeLessThanOrEqual((most * (clients > 10 ? 3 : 2.1)) / 4);
      expect(total(held)).toBeGreaterThan(most * 0.45);
    }
  });

  it("leave something to one more of the same group, and as much to another group", () => {
    const held = fill([[...greedy(50), 4], [4], greedy(50), [4]]);
    expect(held[0]?.at(-1)).toBe(4);
    expect([held[1], held[3]]).toEqual([[4], [4]]);
    expect(total(held[2] ?? [])).toBeGreaterThan(most / 8);
  });

  it("refuse nobody while there is room for all", () => {
    const few = Array.from({ length: 8 }, () => Array<number>(9).fill(11));
    expect(fill(few)).toEqual(few);
    expect(fill([Array<number>(4).fill(mostOfClient)])).toEqual([Array<number>(4).fill(mostOfClient)]);
  });
});
