import { afterAll, beforeAll, expect, test } from "vitest";
import { held, perform } from "./perform.ts";
import type { Residual } from "./residuals.ts";
import type { Scenario } from "./scenario.ts";
import { openScene, raiseStage, type Stage, type StageOptions } from "./scene.ts";

/**
 * Declares the tests of some scenarios: each is played before a gateway that must hold, and before an open one, which must
 * not. What is not stopped is proved to be what the documentation says.
 */
export function playBattery(
  options: StageOptions,
  scenarios: readonly Scenario[],
  residuals: readonly Residual[] = [],
): void {
  let stages: readonly Stage[] = [];
  beforeAll(async () => {
    stages = await Promise.all([raiseStage(options), raiseStage(null)]);
  });
  afterAll(async () => {
    await Promise.all(stages.map((stage) => stage.stop()));
  });
  const rows = scenarios.flatMap(({ families = [4, 6], ...rest }) =>
    families.map((family) => ({ scenario: { ...rest, families }, family })),
  );
  test.each(rows)("$scenario.id $scenario.title, over IPv$family", async ({ scenario, family }) => {
    // Both at once: most of the time is spent waiting.
    const [guarded, open] = await Promise.all(stages.map((stage) => perform(stage, scenario, family)));
    expect(guarded).toEqual(held);
    expect(open, "where the gateway is open").toMatchObject({
      control: null,
      vain: [],
      gained: expect.arrayContaining([expect.any(String)]),
    });
  });
  const notStopped = residuals.map(({ id, title, prove }) => ({
    what: id === undefined ? title : `${id} ${title}`,
    prove,
  }));
  test.each(notStopped.flatMap((residual) => ([4, 6] as const).map((family) => ({ ...residual, family }))))(
    "not stopped, over IPv$family: $what",
    async ({ prove, family }) => {
      const [guarded] = stages;
      if (guarded === undefined) return;
      const scene = await openScene(guarded, family);
      await guarded.lab.mark();
      await prove(scene);
    },
  );
}
