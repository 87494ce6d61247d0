import { expect, test } from "vitest";
import { checkProxyUser } from "../../../agent/apply/proxy-service.ts";
import { policyOf, settingsWith } from "../../support/compile-samples.ts";

const user = { uid: 30_003, gid: 30_003 };
const users = { named: user, gate: user };
const settings = settingsWith() as never;
const plain = policyOf({ version: 1, allow: { domains: ["a.example.com"] } });
const proxied = policyOf({ version: 1, allow: { domains: ["a.example.com"] }, proxy: { mode: "sni-allowlist" } });

test("a missing user is a reason to refuse a policy in SNI mode, and no other", () => {
  expect(() => checkProxyUser({ users: { ...users, proxy: null }, settings }, plain)).not.toThrow();
  expect(() => checkProxyUser({ users: { ...users, proxy: user }, settings }, proxied)).not.toThrow();
  expect(() => checkProxyUser({ users: { ...users, proxy: null }, settings }, proxied)).toThrow(
    expect.objectContaining({ code: "HOST_MISSING", remedy: expect.stringContaining("proxy.user") }),
  );
});
