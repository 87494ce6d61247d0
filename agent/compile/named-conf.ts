import { AgentError } from "../errors.ts";
import type { ForwardZone } from "../policy/policy.ts";
import type { DnsSettings } from "../settings/settings.ts";
import { ALLOW_ZONE, AUDIT_SOURCE, BLOCK_ZONE, DENY_ZONE } from "./release.ts";
import { SHARDS, shardZone, shardZoneFile } from "./shards.ts";
import { addressToken, nameToken, pathToken, placeToken, portToken } from "./tokens.ts";

/** Name of the key in `rndc.key`, the file beside named.conf that the control channel's secret is kept in. */
export const CONTROL_KEY_NAME = "clawgress";

/**
 * Returns named.conf for our own instance. Paths are relative to the folder that named is started in and writes into;
 * what it only reads, the zones and `rndc.key`, is in the folder above, which its user need not be able to change.
 * BIND 9.18 knows every option and calls none deprecated.
 *
 * Options that a hole was measured behind: `qname-wait-recurse no` (denied names went upstream), `break-dnssec yes`
 * (DO=1 answered denied names of signed zones), `recursive-only no` (RD=0 read the cache), `min-update-interval 0`
 * (a new release waited for 60 s), `minimal-responses yes` (addresses that nobody asked for). What is looked for in a zone
 * that has nothing of it, such as addresses of mail servers, takes half of the time of loading it (`check-*`).
 *
 * Zones of `forward` are asked of their own resolvers, never of the upstreams; the response policy holds for them too.
 * @throws AgentError SETTINGS_INVALID when there is no upstream, or `validation` is `yes` without trust anchors.
 */
export function renderNamedConf(dns: DnsSettings, forward: readonly ForwardZone[] = [], isSharded = false): string {
  const shards = isSharded ? SHARDS : [];
  const loopback = `127.0.0.1; ${AUDIT_SOURCE}; ::1;`;
  return `include "../rndc.key";
controls {
	inet 127.0.0.1 port ${portToken(dns.controlPort)} allow { 127.0.0.1; } keys { "${CONTROL_KEY_NAME}"; };
};
${trustAnchors(dns)}options {
	directory ".";
	pid-file "named.pid";
	session-keyfile none;
	dump-file "named.dump";
	statistics-file "named.stats";
	memstatistics-file "named.memstats";
	recursing-file "named.recursing";
	secroots-file "named.secroots";
	version none;
	hostname none;
	server-id none;

	listen-on port ${portToken(dns.namedPort)} { 127.0.0.1; };
	listen-on-v6 port ${portToken(dns.namedPort)} { ::1; };
	allow-query { ${loopback} };
	allow-recursion { ${loopback} };
	allow-query-cache { ${loopback} };
	allow-transfer { none; };
	allow-update { none; };
	allow-notify { none; };
	notify no;

	recursion yes;
	forward only;
	forwarders { ${forwarders(dns)} };
	dnssec-validation ${validationWords[dns.validation]};
${validateExcept(dns, forward)}	empty-zones-enable no;
	check-integrity no;
	check-dup-records ignore;
	resolver-query-timeout 4000;
	edns-udp-size 1232;
	max-udp-size 4096;
	recursive-clients 4000;
	tcp-clients 300;
	minimal-responses yes;
	minimal-any yes;

	max-cache-size 64m;
	max-cache-ttl 300;
	max-ncache-ttl 60;
	servfail-ttl 1;
	stale-answer-enable no;
	stale-cache-enable no;

	response-policy {
		zone "${BLOCK_ZONE}";
		zone "${ALLOW_ZONE}";
${shards.map((shard) => `\t\tzone "${shardZone(shard)}";\n`).join("")}		zone "${DENY_ZONE}";
	} qname-wait-recurse no break-dnssec yes recursive-only no min-update-interval 0;
};
zone "${BLOCK_ZONE}" {
	type primary;
	file "../block.zone";
};
zone "${ALLOW_ZONE}" {
	type primary;
	file "../allow.zone";
};
${shards.map((shard) => `zone "${shardZone(shard)}" {\n\ttype primary;\n\tfile "../${shardZoneFile(shard)}";\n};\n`).join("")}zone "${DENY_ZONE}" {
	type primary;
	file "../deny.zone";
};
${forward.map(forwardZone).join("")}logging {
	channel general {
		file "named.log" versions 2 size 4m;
		severity info;
		print-time iso8601;
		print-category yes;
		print-severity yes;
	};
	channel rewrites {
		file "rpz.log" versions 2 size 8m;
		severity info;
		print-time iso8601;
	};
	category default { general; };
	category rpz { rewrites; };
	category rpz-passthru { null; };
	category queries { null; };
	category lame-servers { null; };
};
`;
}

/** The world's DNS says of an inner zone that it does not exist, or is signed by other keys. */
function validateExcept(dns: DnsSettings, forward: readonly ForwardZone[]): string {
  if (forward.length === 0 || dns.validation === "no") return "";
  return `\tvalidate-except { ${forward.map(({ zone }) => `"${nameToken(zone)}";`).join(" ")} };\n`;
}

function forwardZone({ zone, resolvers, place }: ForwardZone): string {
  const forwarders = resolvers.map((address) => `${addressToken(address)} port 53;`).join(" ");
  return `zone "${nameToken(zone)}" { # ${placeToken(place)}
	type forward;
	forward only;
	forwarders { ${forwarders} };
};
`;
}

const validationWords = { auto: "auto", no: "no", yes: "yes" } as const;

function forwarders(dns: DnsSettings): string {
  if (dns.upstreams.length === 0) {
    throw new AgentError("SETTINGS_INVALID", "dns.upstreams is empty: named would have nobody to ask", {
      remedy: "name at least one resolver in agent.json",
    });
  }
  const port = portToken(dns.upstreamPort);
  return dns.upstreams.map((address) => `${addressToken(address)} port ${port};`).join(" ");
}

function trustAnchors(dns: DnsSettings): string {
  if (dns.validation !== "yes") return "";
  if (dns.trustAnchorsFile === null) {
    throw new AgentError("SETTINGS_INVALID", "dns.validation is yes, but dns.trustAnchorsFile is not set", {
      remedy: 'name a file with a trust-anchors statement, or write "auto" for the anchors that BIND brings',
    });
  }
  return `include ${pathToken(dns.trustAnchorsFile)};\n`;
}
