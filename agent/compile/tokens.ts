import { isIPv4, isIPv6 } from "node:net";
import { AgentError } from "../errors.ts";
import { type AddressRange, formatAddress } from "../policy/cidr.ts";
import type { Place } from "../policy/policy.ts";

/**
 * The only ways for text to enter an artifact. Parsers have judged everything before; here each token is judged again
 * where it is written, so that no mistake upstream of this folder can put a quote, a line or a directive into a file
 * that named or nft reads.
 */

const hostName = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/;
const groupName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const interfaceName = /^[A-Za-z0-9][A-Za-z0-9_.:@-]{0,14}$/;
const absolutePath = /^\/[A-Za-z0-9_.@+/-]{1,1023}$/;
const MAX_FILE_LENGTH = 200;

/** Returns a host name that is safe in a zone file: lower case, LDH or `_`, labels of 1–63 bytes. @throws RangeError */
export function nameToken(name: string): string {
  if (!hostName.test(name)) throw new RangeError(`not a host name: ${JSON.stringify(name)}`);
  return name;
}

/** Returns an Ethernet address: six pairs of lower-case hex digits. @throws RangeError */
export function macToken(mac: string): string {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac))
    throw new RangeError(`not an Ethernet address: ${JSON.stringify(mac)}`);
  return mac;
}

/** Returns the name of a group for a map of the proxy: `*`, or what the schema lets a host be called. @throws RangeError */
export function groupToken(name: string): string {
  if (name !== "*" && !groupName.test(name)) throw new RangeError(`not a group: ${JSON.stringify(name)}`);
  return name;
}

/** Returns an address in text that both named and nft read. @throws RangeError */
export function addressToken(address: string): string {
  const isPlain = isIPv4(address) || (isIPv6(address) && /^[0-9a-f:.]+$/i.test(address));
  if (!isPlain) throw new RangeError(`not an address: ${JSON.stringify(address)}`);
  return address.toLowerCase();
}

/** Returns a range of addresses as nft writes it: one address, or first and last. @throws RangeError */
export function rangeToken({ family, first, last }: AddressRange): string {
  const from = addressToken(formatAddress({ family, value: first }));
  return first === last ? from : `${from}-${addressToken(formatAddress({ family, value: last }))}`;
}

/** Returns a whole number in a range as decimal text. @throws RangeError */
export function numberToken(value: number, min: number, max: number): string {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`not a whole number from ${min} to ${max}: ${value}`);
  }
  return String(value);
}

/** Returns a port, 1–65535, as text. @throws RangeError */
export function portToken(port: number): string {
  return numberToken(port, 1, 65_535);
}

/** Returns a mark, 0–0xffffffff, as hexadecimal text. @throws RangeError */
export function markToken(mark: number): string {
  numberToken(mark, 0, 0xffff_ffff);
  return `0x${mark.toString(16).padStart(8, "0")}`;
}

/** Returns an interface name in quotes; never a pattern, never `lo`. @throws AgentError SETTINGS_INVALID */
export function interfaceToken(name: string): string {
  if (!interfaceName.test(name) || name === "lo") {
    throw new AgentError(
      "SETTINGS_INVALID",
      `${JSON.stringify(name.slice(0, 40))} cannot be an interface of the gateway`,
      {
        remedy:
          "name a network interface in agent.json: at most 15 letters, digits, dots, dashes or underscores, not lo",
      },
    );
  }
  return `"${name}"`;
}

/** Returns an absolute path in quotes for named.conf and ulogd.conf. @throws AgentError SETTINGS_INVALID */
export function pathToken(path: string): string {
  if (!absolutePath.test(path)) {
    throw new AgentError(
      "SETTINGS_INVALID",
      `${JSON.stringify(path.slice(0, 200))} cannot be written into a configuration file`,
      {
        remedy: "use an absolute path of letters, digits and . _ - + @",
      },
    );
  }
  return `"${path}"`;
}

/** Returns `file:line` for a comment; every byte of the file name that is not plainly harmless becomes `_`. */
export function placeToken(place: Place): string {
  const file = place.file.slice(0, MAX_FILE_LENGTH).replace(/[^A-Za-z0-9._/-]/g, "_");
  return `${file}:${numberToken(place.line, 0, Number.MAX_SAFE_INTEGER)}`;
}

/** Returns the error for a rule that is valid by itself but cannot be enforced, named by its place. */
export function refuseRule(place: Place, message: string, remedy: string): AgentError {
  const { file, line, column, pointer } = place;
  return new AgentError("POLICY_INVALID", `${placeToken(place)}:${column}: ${message}`, {
    remedy,
    details: { file, line, column, pointer },
  });
}
