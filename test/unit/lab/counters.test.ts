import { describe, expect, test } from "vitest";
import { type PacketCount, subtractCounters, sumCounters } from "../../lab/counters.ts";

const flow = (to: string, port: number, packets: number): PacketCount => {
  return { from: "198.51.100.2", to, protocol: "tcp", port, packets, bytes: packets * 60 };
};

describe("subtractCounters", () => {
  test("keeps what grew and what is new", () => {
    const earlier = [flow("203.0.113.10", 80, 3), flow("203.0.113.11", 80, 2)];
    const later = [flow("203.0.113.10", 80, 5), flow("203.0.113.11", 80, 2), flow("203.0.113.10", 443, 1)];
    expect(subtractCounters(later, earlier)).toEqual([flow("203.0.113.10", 80, 2), flow("203.0.113.10", 443, 1)]);
  });
});

describe("sumCounters", () => {
  const counts = [flow("203.0.113.10", 80, 5), flow("203.0.113.10", 443, 1), flow("203.0.113.11", 80, 2)];
  test.each([
    [{}, 8],
    [{ to: "203.0.113.10" }, 6],
    [{ port: 80 }, 7],
    [{ to: "203.0.113.10", port: 80, protocol: "tcp" }, 5],
    [{ protocol: "udp" }, 0],
    [{ from: "10.80.0.10" }, 0],
  ])("selects %j", (filter, packets) => {
    expect(sumCounters(counts, filter)).toMatchObject({ packets, bytes: packets * 60 });
  });
});
