import { describe, expect, test } from "vitest";
import { type KernelChange, type KernelStep, planSteps } from "../../../agent/gate/kernel-change.ts";
import { createKernelWriter } from "../../../agent/gate/kernel-writer.ts";
import { encodeBatch } from "../../../agent/gate/netlink-message.ts";
import { stepsText } from "../../support/steps-text.ts";

const pin = (address: string, before = 70_000, grant = 70_000): KernelChange => ({
  kind: "pin",
  family: address.includes(":") ? 6 : 4,
  owner: address.includes(":") ? "fd00::1" : "10.0.0.1",
  address,
  portClass: 7,
  before,
  grant,
  timeoutS: 90,
});

describe("planSteps", () => {
  test("replaces what is there whatever it is, and takes back what may be gone", () => {
    const changes: KernelChange[] = [
      { kind: "live", group: 1, grant: 70_001 },
      { kind: "unlive", group: 1, grant: 70_002 },
      pin("192.0.2.1", 70_000, 70_001),
      { kind: "unpin", family: 6, owner: "fd00::1", address: "2001:db8::1", portClass: 7, before: 70_003 },
    ];
    expect(stepsText(planSteps(changes))).toBe(
      [
        "add element inet clawgress pin4 { 10.0.0.1 . 192.0.2.1 . 7 : 70000 }",
        "add element inet clawgress pin6 { fd00::1 . 2001:db8::1 . 7 : 70003 }",
        "add element inet clawgress live { 1 . 70002 }",
        "delete element inet clawgress pin4 { 10.0.0.1 . 192.0.2.1 . 7 : 70000 }",
        "delete element inet clawgress pin6 { fd00::1 . 2001:db8::1 . 7 : 70003 }",
        "delete element inet clawgress live { 1 . 70002 }",
        "add element inet clawgress pin4 { 10.0.0.1 . 192.0.2.1 . 7 timeout 90s : 70001 }",
        "add element inet clawgress live { 1 . 70001 }",
        "",
      ].join("\n"),
    );
  });

  test.each([
    ["an address", { ...pin("192.0.2.1"), address: "192.0.2.1 : 1 } ; flush ruleset #" }],
    ["an address with a scope", { ...pin("192.0.2.1"), address: "fe80::1%eth0" }],
    ["a mark", { ...pin("192.0.2.1"), grant: Number.NaN }],
    ["a mark above 32 bits", { ...pin("192.0.2.1"), grant: 2 ** 32 }],
    ["a timeout", { ...pin("192.0.2.1"), timeoutS: 0.5 }],
  ])("what is not %s is not written", (_what, change) => {
    const steps = planSteps([change as KernelChange]);
    expect(() => encodeBatch(steps, 1)).toThrow(RangeError);
  });
});

describe("createKernelWriter", () => {
  const texts = (commits: readonly (readonly KernelStep[])[]): readonly (readonly string[])[] =>
    commits.map((steps) => steps.flatMap((step) => step.elements.map(({ key }) => `${step.verb} ${key[1]}`)));

  test("collects what comes while a transaction is under way into the next one, in order", async () => {
    const commits: (readonly KernelStep[])[] = [];
    const writer = createKernelWriter(async (steps) => {
      commits.push(steps);
      await new Promise((resolve) => setTimeout(resolve, 5));
    });
    await Promise.all(["192.0.2.1", "192.0.2.2", "192.0.2.3"].map((address) => writer.write([pin(address)])));
    expect(texts(commits).map((elements) => elements.filter((text) => text.startsWith("delete")))).toEqual([
      ["delete 192.0.2.1"],
      ["delete 192.0.2.2", "delete 192.0.2.3"],
    ]);
  });

  test("one bad member fails alone", async () => {
    const writer = createKernelWriter(async (steps) => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (steps.some((step) => step.elements.some(({ key }) => key[1] === "192.0.2.66"))) throw new Error("refused");
    });
    const outcomes = await Promise.allSettled(
      ["192.0.2.1", "192.0.2.2", "192.0.2.66", "192.0.2.3"].map((address) => writer.write([pin(address)])),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
  });

  test("is drained when nothing is under way", async () => {
    let isDone = false;
    const writer = createKernelWriter(async () => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      isDone = true;
    });
    const written = writer.write([pin("192.0.2.1")]);
    await writer.drain();
    expect(isDone).toBe(true);
    await written;
    await writer.drain();
  });
});
