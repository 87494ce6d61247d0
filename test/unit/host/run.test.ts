import { describe, expect, test } from "vitest";
import { run } from "../../../agent/host/run.ts";

describe("run", () => {
  test.each([
    ["a program", "sleep 30"],
    ["a program whose child holds its output", "sleep 4 & wait"],
    ["a child that outlives its parent", "sleep 3 & exit 0"],
  ])("gives up on %s after its time limit", async (_, script) => {
    const startedMs = performance.now();
    await expect(run(["bash", "-c", script], { timeoutMs: 200 })).rejects.toMatchObject({
      code: "HOST_COMMAND",
      message: expect.stringContaining("200 ms"),
    });
    expect(performance.now() - startedMs).toBeLessThan(2000);
  });

  test("stops a program that prints too much", async () => {
    const printing = run(["bash", "-c", "yes"], { timeoutMs: 10_000, maxOutputBytes: 1000 });
    await expect(printing).rejects.toMatchObject({
      code: "HOST_COMMAND",
      message: expect.stringContaining("1000 bytes"),
    });
  });

  test("returns exit code and output as they are", async () => {
    const result = await run(["bash", "-c", "cat; echo no >&2; exit 3"], { timeoutMs: 5000, stdin: "in" });
    expect(result).toMatchObject({ exitCode: 3, stdout: "in", stderr: "no\n" });
  });
});

test("a program that ended before its input was known keeps nobody waiting, and one without input is ended", async () => {
  let give = (_text: string): void => {};
  const late = new Promise<string>((resolve) => {
    give = resolve;
  });
  expect((await run(["true"], { timeoutMs: 60_000, stdin: late })).exitCode).toBe(0);
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  const before = timers();
  give("too late");
  await late;
  expect(timers()).toBe(before);
  const none = run(["cat"], { timeoutMs: 60_000, stdin: Promise.reject(new Error("nothing to say")) });
  await expect(none).rejects.toMatchObject({ code: "HOST_COMMAND", message: "cat was not needed" });
  expect((await run(["cat"], { timeoutMs: 5_000, stdin: Promise.resolve("in time") })).stdout).toBe("in time");
});
