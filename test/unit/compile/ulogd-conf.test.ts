import { describe, expect, it } from "vitest";
import { DENY_LOG_GROUP, refuseRules } from "../../../agent/compile/nft-refuse.ts";
import { renderUlogdConf } from "../../../agent/compile/ulogd-conf.ts";

describe("renderUlogdConf", () => {
  it("reads the group that the rules log to", () => {
    const text = renderUlogdConf({ socketPath: "/run/clawgress/gate/packets.sock" });
    expect(text).toContain(`group=${DENY_LOG_GROUP}\n`);
    const logs = refuseRules("forward").filter((rule) => rule.includes(" log "));
    expect(logs).toHaveLength(4);
    for (const rule of logs) expect(rule).toContain(` group ${DENY_LOG_GROUP} `);
  });

  it.each(['/run/a"b', "/run/a\nmode=file", "run/relative", "/run/a b"])("refuses the path %j", (socketPath) => {
    expect(() => renderUlogdConf({ socketPath })).toThrow(
      expect.objectContaining({ code: "SETTINGS_INVALID", remedy: expect.any(String) }),
    );
  });
});

describe("refuseRules", () => {
  it.each(["forward", "input"] as const)("refuses in %s whatever the log does", (hook) => {
    const rules = refuseRules(hook);
    expect(rules.slice(-2)).toEqual(["meta l4proto tcp reject with tcp reset", "reject with icmpx admin-prohibited"]);
    for (const rule of rules.filter((text) => text.includes("log"))) expect(rule).not.toMatch(/accept|drop|reject/);
    for (const rule of rules) expect(rule).not.toMatch(/accept|return/);
  });
});
