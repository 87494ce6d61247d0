import { describe, expect, it } from "vitest";
import { portClasses, rangeByClass } from "../../../agent/compile/port-classes.ts";
import type { PortRange } from "../../../agent/policy/policy.ts";
import { parsePortRange, portText } from "../../../agent/policy/ports.ts";
import { policyOf } from "../../support/compile-samples.ts";

function classTexts(...ports: readonly (number | string)[]): readonly string[] {
  return portClasses(policyOf({ version: 1, allow: { domains: ["a.example.com"], ports } })).map(portText);
}

function rangesOf(...texts: readonly (string | number)[]): readonly PortRange[] {
  return texts.map((text) => {
    const parsed = parsePortRange(text);
    if (!parsed.ok) throw new Error(parsed.message);
    return parsed.value;
  });
}

describe("portClasses", () => {
  it.each([
    ["single ports", [443, 80], ["80/tcp", "443/tcp"]],
    ["protocols apart", [443, "443/udp"], ["443/tcp", "443/udp"]],
    ["a port inside a range splits it", ["8000-8100", 8080], ["8000-8079/tcp", "8080/tcp", "8081-8100/tcp"]],
    ["overlapping ranges", ["1-100", "50-150"], ["1-49/tcp", "50-100/tcp", "101-150/tcp"]],
    ["all ports", ["1-65535"], ["1-65535/tcp"]],
  ])("%s", (_title, ports, classes) => expect(classTexts(...ports)).toEqual(classes));

  it("gives a class the same mark whatever else the policy holds", () => {
    const markOf443 = (ports: readonly (number | string)[]): number | undefined =>
      portClasses(policyOf({ version: 1, allow: { domains: ["a.example.com"], ports } })).find(
        ({ first }) => first === 443,
      )?.mark;
    expect(markOf443([443])).toBe(markOf443([22, 80, 443, "8000-9000", "53/udp"]));
    expect(markOf443([443])).toBeGreaterThan(0);
  });

  it("refuses more than 512 different ranges", () => {
    const ports = Array.from({ length: 513 }, (_, index) => 1 + 2 * index);
    expect(() => classTexts(...ports)).toThrow(/more than 512 different ranges/);
    expect(classTexts(...ports.slice(1))).toHaveLength(512);
  });
});

describe("rangeByClass: which written range speaks for a class", () => {
  it.each([
    ["the only one", ["443"], ["443/tcp=443/tcp"]],
    [
      "the narrowest of several",
      ["1-65535", "8000-8100", "8080"],
      [
        "1-7999/tcp=1-65535/tcp",
        "8000-8079/tcp=8000-8100/tcp",
        "8080/tcp=8080/tcp",
        "8081-8100/tcp=8000-8100/tcp",
        "8101-65535/tcp=1-65535/tcp",
      ],
    ],
    [
      "the smallest text of equally narrow ones",
      ["50-59", "55-64"],
      ["50-54/tcp=50-59/tcp", "55-59/tcp=50-59/tcp", "60-64/tcp=55-64/tcp"],
    ],
  ])("%s", (_title, ports, expected) => {
    const classes = portClasses(policyOf({ version: 1, allow: { domains: ["a.example.com"], ports } }));
    const chosen = rangeByClass(classes, rangesOf(...ports));
    expect(
      classes.map((portClass) => `${portText(portClass)}=${portText(chosen.get(portClass) ?? portClass)}`),
    ).toEqual(expected);
  });

  it("covers nothing that no range covers", () => {
    const classes = portClasses(
      policyOf({ version: 1, allow: { domains: ["a.example.com"], ports: [80, "443/udp"] } }),
    );
    expect([...rangeByClass(classes, rangesOf(80)).keys()].map(portText)).toEqual(["80/tcp"]);
  });
});
