import { createHmac } from "node:crypto";
import type { DecisionKey } from "./decision.ts";

/**
 * Returns a change of keys for answers that leave the team: addresses of clients become names that stay the same on this
 * gateway and say nothing, refused names keep their last two labels (what a machine asks for may carry what it knows), and
 * refused IPv4 destinations their /24. Names that the policy allows stand in the repository and stay.
 */
export function createRedaction(secret: Buffer): (key: DecisionKey) => DecisionKey {
  const pseudonyms = new Map<string, string>();
  const pseudonymOf = (client: string): string => {
    const known = pseudonyms.get(client);
    if (known !== undefined) return known;
    const digest = createHmac("sha256", secret).update(client).digest("hex");
    const made = `client-${digest.slice(0, 12)}`;
    if (pseudonyms.size < MAX_PSEUDONYMS) pseudonyms.set(client, made);
    return made;
  };
  return (key) => ({
    ...key,
    client: key.client === null ? null : pseudonymOf(key.client),
    name: key.verdict === "allow" || key.name === null ? key.name : shortenName(key.name),
    destination: key.verdict === "allow" || key.destination === null ? key.destination : widen(key.destination),
  });
}

const MAX_PSEUDONYMS = 65_536;

function shortenName(name: string): string {
  const labels = name.split(".");
  return labels.length <= 2 ? name : `*.${labels.slice(-2).join(".")}`;
}

function widen(address: string): string {
  const [, first] = /^(\d+\.\d+\.\d+)\.\d+$/.exec(address) ?? [];
  if (first !== undefined) return `${first}.0/24`;
  const groups = address.split("::")[0]?.split(":").slice(0, 3).join(":") ?? "";
  return `${groups}::/48`;
}
