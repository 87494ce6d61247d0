/** The folder of secrets beside agent.json. */
export const CREDENTIALS_FOLDER = "credentials";
/** How agent.json names a secret that systemd hands to the unit instead of a file. */
const PREFIX = "credential:";

/** Returns the name in `credential:NAME`, or null for the path of a file. */
export function credentialName(file: string): string | null {
  return file.startsWith(PREFIX) ? file.slice(PREFIX.length) : null;
}

/**
 * Returns the name by which systemd knows a credential: a unit that loads the whole folder of them under the name
 * `clawgress` puts that before each file's.
 */
export function credentialId(name: string): string {
  return `clawgress_${name}`;
}

/** Returns the credentials among some files, each once. */
export function credentialNames(files: readonly (string | null)[]): readonly string[] {
  const names = files.flatMap((file) => (file === null ? [] : (credentialName(file) ?? [])));
  return [...new Set(names)].sort();
}
