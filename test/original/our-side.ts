import { ALLOW_ZONE } from "../../agent/compile/release.ts";
import { startLab } from "../lab/lab.ts";
import { setUpGateway } from "../support/gateway.ts";
import { signByHand } from "../support/sign-by-hand.ts";
import type { Side } from "./side.ts";
import { fieldOf } from "./verdict.ts";

/** Raises a lab that our agent rules, with a repository whose policies are signed by a program that does not judge them. */
export async function raiseOurs(): Promise<Side> {
  const lab = await startLab();
  try {
    await lab.execChecked("gateway", ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
    const gateway = await setUpGateway(lab, { policy: { version: 1, mode: "deny-all" }, threshold: 1 });
    const { alice = "" } = gateway.keys;
    const enforce: Side["enforce"] = async (policy) => {
      const text = `${JSON.stringify(policy, null, 2)}\n`;
      await gateway.commit(text, { signers: [], tamper: (clone) => signByHand(clone, ["policy.json"], { alice }) });
      const { ok, code, message = "" } = await gateway.sync();
      if (ok) return "";
      return code === "POLICY_INVALID" ? `refused when read: ${fieldOf(message, text)}` : `${code}: ${message}`;
    };
    return { lab, enforce, allowZone: ALLOW_ZONE };
  } catch (error) {
    await lab.stop();
    throw error;
  }
}
