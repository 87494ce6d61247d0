import { describe, expect, test } from "vitest";
import { parseQueryLine } from "../../lab/name-server.ts";
import { buildMovingZone, buildZones } from "../../lab/zones.ts";

describe("parseQueryLine", () => {
  const head = "22-Nov-2026 10:06:42.123 client @0x7f5d8c0011d8 198.51.100.2#41234";
  test.each([
    [
      "www.allowed.test IN A + (203.0.113.53)",
      { name: "www.allowed.test", type: "A", recursionDesired: true, tcp: false, server: "203.0.113.53" },
    ],
    [
      "Www.Allowed.TEST IN AAAA -E(0)TDC (203.0.113.53)",
      {
        name: "www.allowed.test",
        type: "AAAA",
        recursionDesired: false,
        tcp: true,
        dnssecOk: true,
        checkingDisabled: true,
      },
    ],
    [
      "a IN HTTPS +E(0)K (2001:db8:1::53)",
      { name: "a", type: "HTTPS", dnssecOk: false, checkingDisabled: false, server: "2001:db8:1::53" },
    ],
    [". CH TYPE1234 +SE(0) (203.0.113.53)", { name: "", class: "CH", type: "TYPE1234", dnssecOk: false }],
  ] as const)("reads %s", (rest, expected) => {
    const name = rest.split(" ")[0];
    expect(parseQueryLine(`${head} (${name}): query: ${rest}`)).toMatchObject({
      client: "198.51.100.2",
      clientPort: 41234,
      ...expected,
    });
  });

  test.each(["", "zone allowed.test/IN: loaded serial 1", `${head} (x): query failed (REFUSED) for x/IN/A`])(
    "takes nothing from %j",
    (line) => expect(parseQueryLine(line)).toBeNull(),
  );
});

describe("zones", () => {
  test("keep every record in the zone that holds its owner", () => {
    for (const zone of buildZones()) {
      for (const line of zone.text.trim().split("\n")) {
        const owner = (line.split(" ")[0] ?? "").replace(/\.$/, "").toLowerCase();
        const apex = zone.name.replace(/^\.$/, "");
        expect(apex === "" || owner === apex || owner.endsWith(`.${apex}`), line).toBe(true);
      }
    }
  });

  test("give the same text each time", () => {
    expect(buildZones()).toEqual(buildZones());
  });

  test("let one zone move", () => {
    expect(
      buildMovingZone(7, { v4: ["203.0.113.99"], v6: [] })
        .split("\n")
        .slice(0, 3),
    ).toEqual([
      "moving.test. 30 IN SOA ns.lab.test. hostmaster.lab.test. 7 3600 600 86400 5",
      "moving.test. 30 IN NS ns.lab.test.",
      "moving.test. 2 IN A 203.0.113.99",
    ]);
  });
});
