import { expect, test } from "vitest";
import { isWider, reachOf } from "../../../agent/policy/group-reach.ts";
import { validPolicy } from "../../support/policy-text.ts";

function wider(before: object, after: object): boolean {
  const [one, other] = [before, after].map((document) => {
    const policy = validPolicy({ version: 1, ...document });
    const [group] = policy.groups;
    if (group === undefined) throw new Error("no group");
    return reachOf(policy, group);
  });
  if (one === undefined || other === undefined) throw new Error("two are compared");
  return isWider(one, other);
}

const name = (expires?: string): object => ({
  allow: { domains: ["kept.example.com", { domain: "a.example.com", ...(expires === undefined ? {} : { expires }) }] },
});
const network = (expires?: string): object => ({
  allow: {
    domains: ["kept.example.com"],
    ips: [{ network: "192.0.2.0/24", ...(expires === undefined ? {} : { expires }) }],
  },
});
const denial = (expires?: string): object => ({
  allow: { domains: ["*.example.com"] },
  deny: {
    domains: [{ domain: "a.example.com", ...(expires === undefined ? {} : { expires }) }],
    ips: [{ network: "192.0.2.0/24", ...(expires === undefined ? {} : { expires }) }],
  },
});

test.each([
  ["a name", name],
  ["a network", network],
])("%s that expires later, or never, is wider; one that expires earlier is not", (_what, document) => {
  expect(wider(document("2027-01-01"), document("2027-01-02"))).toBe(true);
  expect(wider(document("2027-01-01"), document())).toBe(true);
  expect(wider(document("2027-01-02"), document("2027-01-01"))).toBe(false);
  expect(wider(document(), document("2027-01-01"))).toBe(false);
  expect(wider(document("2027-01-01"), document("2027-01-01"))).toBe(false);
});

test("a denial that ends earlier is wider; one that ends later, or never, is not", () => {
  expect(wider(denial(), denial("2027-01-01"))).toBe(true);
  expect(wider(denial("2027-01-02"), denial("2027-01-01"))).toBe(true);
  expect(wider(denial("2027-01-01"), denial())).toBe(false);
});

test("other hours are wider, whatever they are: nobody compares them", () => {
  const window = (end: string): object => ({ ...name(), time_window: { start: "08:00", end } });
  expect(wider(window("18:00"), window("17:00"))).toBe(true);
  expect(wider(window("18:00"), window("18:00"))).toBe(false);
});
