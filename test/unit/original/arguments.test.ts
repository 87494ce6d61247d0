import { describe, expect, test } from "vitest";
import { readArguments } from "../../original/arguments.ts";
import { featuresOf, readCheckout } from "../../original/checkout.ts";
import { under } from "../../original/side.ts";

describe("readArguments", () => {
  test("takes a checkout, a file for JSON, and parts of titles", () => {
    expect(readArguments(["--checkout", "there", "--json", "out.json", "SNI"])).toEqual({
      ok: true,
      args: { checkout: "there", jsonFile: "out.json", isRepaired: false, only: ["SNI"] },
    });
    expect(readArguments(["--checkout=there", "--without-rpz-log"])).toMatchObject({
      ok: true,
      args: { isRepaired: true },
    });
  });

  test.each([[[]], [["--checkout", ""]], [["--checkout"]], [["--chekout", "there"]]])(
    "says to %j what to get and which commits",
    (argv) => {
      const read = readArguments(argv);
      expect(read.ok).toBe(false);
      const message = read.ok ? "" : read.message;
      for (const part of ["git clone", "f11c77b7b", "1765787d4"]) expect(message).toContain(part);
    },
  );
});

test("what a program reads is what stands in its text as a string", () => {
  expect([...featuresOf(["allow.get('ports')", 'policy.get("hosts", {})  # no exfil here'])]).toEqual(["hosts"]);
  expect([...featuresOf(["policy.get('time_windows')", "limits['egress_kbps']"])]).toEqual(["egress_kbps"]);
});

test("a folder that is no checkout is refused with what to get", async () => {
  await expect(readCheckout("/nonexistent", false)).rejects.toThrow(/no checkout of the original: [\s\S]*git clone/);
});

test("a policy that is not in force is said before what came of it", () => {
  expect(under("", "reached")).toBe("reached");
  expect(under("refused when read: allow/ports", "closed at once")).toBe(
    "refused when read: allow/ports; closed at once",
  );
});
