import { isIP } from "node:net";
import { domainToASCII } from "node:url";
import { accept, type Parsed, quoteText, refuse } from "./parsed.ts";
import type { DomainName, NamePattern } from "./policy.ts";

/** RFC 1035 §2.3.4 in presentation form without the trailing dot. */
const MAX_NAME_LENGTH = 253;
/**
 * The longest name that a policy can list: as an owner in the allow zone it gets `*.` before it and the 28 bytes of
 * `.allow.rpz.clawgress.invalid` behind it, and must still be a name.
 */
const MAX_PATTERN_NAME_LENGTH = MAX_NAME_LENGTH - 2 - 28;
const MAX_INPUT_LENGTH = 1024;

const asciiCharacters = /^[A-Za-z0-9._-]*$/;
const nameCharacters = /^[A-Za-z0-9._\-\p{L}\p{M}\p{Nd}]*$/u;
/** Labels of 1 to 63 bytes between dots; a leading underscore is one of the 63. */
const plainLabels =
  /^(?:(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?|_[a-z0-9](?:[a-z0-9-]{0,60}[a-z0-9])?)(?:\.(?!$)|$))+$/;
const latin = /[A-Za-z]/;
const lookAlikes = /[\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}\p{Script=Cherokee}]/u;

/**
 * Returns a host name in lower case and A-label form (IDNA as in UTS #46, by node:url after a check of the characters,
 * because that function repairs what it should refuse: `%65`, `ex/ample`, full-width digits).
 */
export function parseDomainName(text: string): Parsed<DomainName> {
  if (text === "") return refuse("the name is empty", "write a host name, such as api.example.com");
  if (text.length > MAX_INPUT_LENGTH) return refuse(`${quoteText(text)} is longer than a name can be`, "shorten it");
  if (text.endsWith("."))
    return refuse(`${quoteText(text)} ends in a dot`, "write the name without the dot at its end");
  if (isIP(text) !== 0) return refuse(`${quoteText(text)} is an address, not a name`, 'write it under "ips"');
  if (text.includes("*")) {
    return refuse(
      `${quoteText(text)} has a * in the middle`,
      'only "*." at the beginning is a wildcard; list the names',
    );
  }
  const isAscii = asciiCharacters.test(text);
  if (!isAscii && (!nameCharacters.test(text) || text.normalize("NFKC") !== text.normalize("NFC"))) {
    return refuse(`${quoteText(text)} contains characters that no host name has`, explainCharacters(text));
  }
  if (!isAscii && text.split(".").some((part) => latin.test(part) && lookAlikes.test(part))) {
    return refuse(
      `${quoteText(text)} mixes Latin letters with look-alikes`,
      "if it is what you mean, write its xn-- form",
    );
  }
  const name = isAscii && !/xn--/i.test(text) ? text.toLowerCase() : domainToASCII(text);
  return checkLabels(text, name);
}

/** Returns what an entry of a `deny` list means: as of any list, and `*.zip` is every name below a top-level domain. */
export function parseDeniedPattern(text: string): Parsed<NamePattern> {
  if (text === "*" || text === "*.") {
    return refuse('"*" would deny every name', 'write "mode": "deny-all", or names such as *.example.com');
  }
  const isTopLevel = text.startsWith("*.") && !text.slice(2).includes(".");
  if (!isTopLevel) return parseDomainPattern(text);
  const parsed = parseDomainName(text.slice(2));
  return parsed.ok ? accept({ kind: "subdomains", name: parsed.value }) : parsed;
}

/** Returns what an entry of a list of names means: `api.example.com` exactly, `*.example.com` every name below. */
export function parseDomainPattern(text: string): Parsed<NamePattern> {
  if (text === "*" || text === "*.") {
    return refuse('"*" would allow every name', "list the names, or wildcards such as *.example.com");
  }
  const isWildcard = text.startsWith("*.");
  const parsed = parseDomainName(isWildcard ? text.slice(2) : text);
  if (!parsed.ok) return parsed;
  const name = parsed.value;
  if (name.length > MAX_PATTERN_NAME_LENGTH) {
    return refuse(
      `${quoteText(text)} has ${name.length} bytes`,
      `names in a policy have at most ${MAX_PATTERN_NAME_LENGTH}`,
    );
  }
  if (!name.includes(".")) {
    return isWildcard
      ? refuse(`${quoteText(text)} would allow a whole top-level domain`, "list names below it, such as *.example.com")
      : refuse(`${quoteText(text)} is a single label`, "write the full name, such as api.example.com");
  }
  return accept({ kind: isWildcard ? "subdomains" : "exact", name });
}

function checkLabels(text: string, name: string): Parsed<DomainName> {
  if (text.includes("..") || text.startsWith(".")) {
    return refuse(`${quoteText(text)} has an empty label`, "remove the extra dot");
  }
  if (name === "" || (name.length !== text.length && countDots(name) !== countDots(text))) {
    return refuse(`${quoteText(text)} is no valid international name`, "check its spelling, or write its xn-- form");
  }
  if (name.length > MAX_NAME_LENGTH) {
    return refuse(`${quoteText(text)} is longer than ${MAX_NAME_LENGTH} bytes`, "shorten it");
  }
  if (!plainLabels.test(name)) return explainLabels(text, name.split("."));
  const last = name.slice(name.lastIndexOf(".") + 1);
  if (/^(?:[0-9]+|0x[0-9a-f]*)$/.test(last)) {
    return refuse(`${quoteText(text)} ends in a number, as only addresses do`, 'write addresses under "ips"');
  }
  return checkReserved(text, last, name);
}

function explainLabels(text: string, labels: readonly string[]): ReturnType<typeof refuse> {
  if (labels.some((part) => part.length > 63)) {
    return refuse(`${quoteText(text)} has a label longer than 63 bytes`, "shorten the label");
  }
  const wrong = labels.find((part) => !plainLabels.test(part)) ?? "";
  const rule = "a label has letters, digits and inner hyphens; _ only at its beginning";
  return refuse(`${quoteText(text)} has the wrong label ${quoteText(wrong)}`, rule);
}

function countDots(text: string): number {
  return text.split(".").length - 1;
}

function checkReserved(text: string, last: string, name: string): Parsed<DomainName> {
  // named reads owners such as `32.1.2.0.192.rpz-client-ip` as triggers on addresses, not as names.
  if (last.startsWith("rpz-")) return refuse(`${quoteText(text)} is a keyword of response policy zones`, "remove it");
  if (last === "localhost")
    return refuse(`${quoteText(text)} names the machine itself`, "loopback is never opened by a name");
  if (last === "invalid") return refuse(`${quoteText(text)} can never exist (RFC 6761)`, "remove it");
  return accept(name as DomainName);
}

function explainCharacters(text: string): string {
  if (/^[a-z]+:\/\//i.test(text)) return "write the host name only, without scheme, port and path";
  if (/\s/.test(text)) return "remove the spaces; write one name an entry";
  if (text.includes(":")) return 'write the name only; ports stand in "ports"';
  if (text.includes("/")) return 'write the host name only; networks stand in "ips"';
  return "a name has letters, digits, hyphens and dots";
}
