import { appliedLive } from "../../agent/compile/applied-live.ts";
import { hostBudgets, removeBudgets } from "../../agent/compile/budgets.ts";
import { compile } from "../../agent/compile/compile.ts";
import { groupMarks, nameGrantText } from "../../agent/compile/grants.ts";
import { type LivePair, liveDelta } from "../../agent/compile/live-delta.ts";
import { assignMark, NAME_GRANT_MAX, NAME_GRANT_MIN } from "../../agent/compile/marks.ts";
import { renderBase } from "../../agent/compile/nft-base.ts";
import { portClasses } from "../../agent/compile/port-classes.ts";
import type { Policy, PortRange } from "../../agent/policy/policy.ts";
import type { Lab } from "../lab/lab.ts";
import { artifactText, baseUsers, policyOf, settingsWith } from "./compile-samples.ts";

/** The packet path of a lab's gateway without named and the gate: pins and grants of names are set by hand. */
export interface Datapath {
  readonly loadBase: () => Promise<void>;
  /** Puts a policy and the grants of its networks in force, in one transaction; resolves with it and the time taken. */
  readonly load: (document: object) => Promise<{ readonly policy: Policy; readonly tookMs: number }>;
  readonly nft: (text: string) => Promise<void>;
  /** Text of `nft list …`, counters included. */
  readonly list: (...what: readonly string[]) => Promise<string>;
  readonly counter: (name: string) => Promise<number>;
  /** Lets a client reach an address as a name; `timeoutS` is the pin's. */
  readonly pin: (pin: NamePin) => Promise<{ readonly live: string }>;
}

export interface NamePin {
  readonly policy: Policy;
  readonly group: string;
  readonly client: string;
  readonly address: string;
  readonly name: string;
  readonly range: PortRange;
  readonly timeoutS: number;
  /** Default true. */
  readonly live?: boolean;
}

/** Loads the base tables of a lab's gateway, then lets it forward: in this order, as at boot. */
export async function raiseDatapath(lab: Lab): Promise<Datapath> {
  const settings = {
    ...settingsWith(),
    dns: { ...settingsWith().dns, upstreams: [lab.addresses.dns.v4, lab.addresses.dns.v6] },
  };
  const nft = async (text: string): Promise<void> => {
    await lab.execChecked("gateway", ["nft", "-f", "-"], { stdin: text, timeoutMs: 60_000 });
  };
  let inForce: readonly LivePair[] = [];
  let budgets: readonly number[] = [];
  const loadBase = (): Promise<void> => nft(renderBase(settings, baseUsers));
  await loadBase();
  await lab.execChecked("gateway", ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
  return {
    loadBase,
    nft,
    load: async (document) => {
      const policy = policyOf(document);
      const wanted = appliedLive(policy);
      const { now, later } = liveDelta(inForce, wanted);
      const changes = now + later + removeBudgets(budgets, policy);
      const text = artifactText(compile({ policy, settings }), "policy.nft") + changes;
      const startMs = performance.now();
      await nft(text);
      inForce = wanted;
      budgets = [...hostBudgets(policy).values()].map(({ mark }) => mark);
      return { policy, tookMs: performance.now() - startMs };
    },
    list: (...what) => lab.execChecked("gateway", ["nft", "list", ...what]),
    counter: async (name) => {
      const text = await lab.execChecked("gateway", ["nft", "list", "counter", "inet", "clawgress_base", name]);
      return Number(/packets (\d+)/.exec(text)?.[1]);
    },
    pin: async ({ policy, group, client, address, name, range, timeoutS, live = true }) => {
      const grant = assignMark(nameGrantText(name, range), NAME_GRANT_MIN, NAME_GRANT_MAX, () => false);
      const pair = `${groupMarks(policy).get(group)} . ${grant}`;
      const family = address.includes(":") ? 6 : 4;
      const covered = portClasses(policy).filter(
        ({ protocol, first, last }) => protocol === range.protocol && range.first <= first && last <= range.last,
      );
      const pins = covered.map(({ mark }) => `${client} . ${address} . ${mark} timeout ${timeoutS}s : ${grant}`);
      const liveLine = live ? `add element inet clawgress live { ${pair} }\n` : "";
      await nft(`${liveLine}add element inet clawgress pin${family} { ${pins.join(", ")} }\n`);
      return { live: pair };
    },
  };
}
