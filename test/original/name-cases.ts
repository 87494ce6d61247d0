import type { Case } from "./side.ts";
import { under } from "./side.ts";
import { tryName, tryPage, tryTransfer } from "./tries.ts";

const NXDOMAIN = /^NXDOMAIN, none left$/;
const OPENAI = "203.0.113.70";

/** What a policy of names alone means, and what can be asked beside it. */
export const nameCases: readonly Case[] = [
  {
    title: 'names alone: `"domains": ["api.openai.com", "www.chain.test", "wild.test"]`',
    needs: [],
    attempts: [
      { what: "HTTPS to a listed name", ours: /^reached$/ },
      { what: "a denied name, A", ours: NXDOMAIN },
      { what: "a denied name, TXT", ours: NXDOMAIN },
      { what: "a denied name of a signed zone, with DO", ours: NXDOMAIN },
      { what: "a listed name's alias, asked without RD once it is cached", ours: NXDOMAIN },
      { what: "a subdomain of a bare name", ours: NXDOMAIN },
      { what: "a denied name, asked of another resolver", ours: NXDOMAIN },
      { what: "a zone transfer of the allowed names", ours: /^refused$/ },
    ],
    play: async (side) => {
      const refusal = await side.enforce({
        version: 1,
        allow: { domains: ["api.openai.com", "www.chain.test", "wild.test"], ports: [53, 80, 443] },
      });
      const verdicts = [
        await tryPage(side, "api.openai.com", OPENAI),
        await tryName(side, "secret-1.denied.test"),
        await tryName(side, "secret-2.denied.test", { type: "TXT" }),
        await tryName(side, "secret-3.signed-denied.test", { dnssecOk: true }),
      ];
      await tryName(side, "www.chain.test");
      return [
        ...verdicts,
        await tryName(side, "e9.cdn2-unlisted.test", { recursionDesired: false }),
        await tryName(side, "x.wild.test"),
        await tryName(side, "secret-4.denied.test", { server: side.lab.addresses.dns.v4 }),
        await tryTransfer(side),
      ].map((verdict) => under(refusal, verdict));
    },
  },
  {
    title: "a label with a line break and a record in it",
    needs: ["labels"],
    attempts: [
      {
        what: "a name that nobody allowed",
        ours: /^refused when read: labels\/a\.allowed\.test; NXDOMAIN, none left$/,
      },
    ],
    play: async (side) => {
      const refusal = await side.enforce({
        version: 1,
        allow: { domains: ["a.allowed.test"], ports: [53, 80, 443] },
        labels: { "a.allowed.test": "model\n* CNAME rpz-passthru.\n;" },
      });
      return [under(refusal, await tryName(side, "www.openai.com"))];
    },
  },
];
