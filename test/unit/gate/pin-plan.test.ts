import { expect, test } from "vitest";
import { planClasses } from "../../../agent/gate/pin-plan.ts";
import { portText } from "../../../agent/policy/ports.ts";

const range = (first: number, last = first, protocol: "tcp" | "udp" = "tcp") => ({ protocol, first, last });
/** The atoms of 1–65535, 400–500, 443 and 443/udp. */
const classes = [
  { ...range(1, 399), mark: 1 },
  { ...range(400, 442), mark: 2 },
  { ...range(443), mark: 3 },
  { ...range(444, 500), mark: 4 },
  { ...range(501, 65_535), mark: 5 },
  { ...range(443, 443, "udp"), mark: 6 },
];

test.each([
  ["nothing", [], []],
  ["one port", [range(443)], ["3 443/tcp"]],
  ["UDP only where it is written", [range(443, 443, "udp")], ["6 443/udp"]],
  ["a range over several classes", [range(400, 500)], ["2 400-500/tcp", "3 400-500/tcp", "4 400-500/tcp"]],
  [
    "the narrowest range of each class",
    [range(1, 65_535), range(400, 500), range(443)],
    ["1 1-65535/tcp", "2 400-500/tcp", "3 443/tcp", "4 400-500/tcp", "5 1-65535/tcp"],
  ],
  [
    "of two equally wide ranges the first, in any order",
    [range(443, 543), range(343, 443)],
    ["2 343-443/tcp", "3 343-443/tcp", "4 443-543/tcp"],
  ],
  ["no class that is covered in part", [range(443, 450)], ["3 443-450/tcp"]],
])("a name's ports cover %s", (_what, ports, planned) => {
  expect(planClasses(ports, classes).map((plan) => `${plan.portClass} ${portText(plan.range)}`)).toEqual(planned);
});
