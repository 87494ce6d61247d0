import type { Case } from "./side.ts";
import { under } from "./side.ts";
import { openFlow, tryAddress, tryRate, wordFlow } from "./tries.ts";
import { closedHours, wholeWeek } from "./verdict.ts";

const [FIRST, SECOND, THIRD] = ["203.0.113.10", "203.0.113.11", "203.0.113.12"] as const;
const LIMIT_KBPS = 800;

const open = (ips: readonly string[], ports: readonly number[] = [80, 443]) => ({
  version: 1,
  allow: { domains: [], ips: ips.map((ip) => `${ip}/32`), ports },
});

const windowCase = (state: string, time_window: object, ours: RegExp): Case => ({
  title: `\`time_window\` that is ${state} now, one address`,
  needs: ["time_window"],
  attempts: [{ what: "the address", ours }],
  play: async (side) => {
    const refusal = await side.enforce({ ...open([FIRST]), time_window });
    return [under(refusal, await tryAddress(side, FIRST, 443))];
  },
});

/** What a policy of networks means, and its successors. */
export const addressCases: readonly Case[] = [
  {
    title: "one policy after the other",
    needs: [],
    attempts: [
      { what: "an address of the first", ours: /^reached$/ },
      { what: "an address that the second adds", ours: /^reached$/ },
      { what: "an address that the third takes away", ours: /^closed at once$/ },
      { what: "an open flow to it", ours: /^ended$/ },
      { what: "an open flow to an address that stays", ours: /^goes on$/ },
    ],
    play: async (side) => {
      await side.enforce(open([FIRST, THIRD]));
      const first = await tryAddress(side, FIRST, 443);
      const [going, staying] = [await openFlow(side, FIRST), await openFlow(side, THIRD)];
      const added = await side.enforce(open([FIRST, SECOND, THIRD]));
      const second = under(added, await tryAddress(side, SECOND, 443));
      const removed = await side.enforce(open([SECOND, THIRD]));
      const third = under(removed, await tryAddress(side, FIRST, 443));
      return [first, second, third, await wordFlow(going), await wordFlow(staying)];
    },
  },
  {
    title: '`"ports": []` with one address',
    needs: [],
    attempts: [{ what: "port 7000 of it", ours: /^refused when read: allow\/ports; closed at once$/ }],
    play: async (side) => {
      const refusal = await side.enforce(open([FIRST], []));
      return [under(refusal, await tryAddress(side, FIRST, 7000))];
    },
  },
  {
    title: `\`"egress_kbps": ${LIMIT_KBPS}\``,
    needs: ["egress_kbps"],
    attempts: [{ what: "an upload as fast as it goes, up to 200 Mbit/s", ours: /^\d+ kbit\/s, within 15 %$/ }],
    play: async (side) => {
      const refusal = await side.enforce({ ...open([FIRST], [7002]), limits: { egress_kbps: LIMIT_KBPS } });
      return [under(refusal, await tryRate(side, FIRST, LIMIT_KBPS))];
    },
  },
  windowCase("open", wholeWeek, /^reached$/),
  windowCase("closed", closedHours(new Date()), /^closed at once$/),
];
