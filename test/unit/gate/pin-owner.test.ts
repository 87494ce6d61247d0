import { describe, expect, test } from "vitest";
import { groupMarkOf, ownerOf } from "../../../agent/gate/pin-owner.ts";

describe("ownerOf", () => {
  test.each([
    ["10.0.0.1", 4, "10.0.0.1", "its own family: the client's"],
    ["2001:db8::1", 6, "2001:db8::1", "its own family: the client's"],
    ["10.0.0.1", 6, "#9", "the other family: the group's"],
    ["2001:db8::1", 4, "#9", "the other family: the group's"],
    ["fe80::1", 6, "#9", "asked from a link-local address, from which nothing is forwarded: the group's"],
    ["febf::1", 6, "#9", "the last of fe80::/10"],
    ["fec0::1", 6, "fec0::1", "the first address after fe80::/10"],
    ["fd00::1", 6, "fd00::1", "a unique local address is forwarded"],
  ] as const)("%s, an IPv%i address: %s (%s)", (client, family, owner, _why) => {
    expect(ownerOf(client, 9, family)).toBe(owner);
    expect(groupMarkOf(owner)).toBe(owner === "#9" ? 9 : null);
  });
});
