/** Returns a pointer (RFC 6901) to a member or element of what another pointer names. */
export function joinPointer(pointer: string, key: string | number): string {
  const needsEscape = typeof key === "string" && (key.includes("~") || key.includes("/"));
  return `${pointer}/${needsEscape ? key.replaceAll("~", "~0").replaceAll("/", "~1") : key}`;
}

/** Returns the keys of a pointer, from the root. */
export function splitPointer(pointer: string): readonly string[] {
  const steps = pointer.split("/").slice(1);
  return pointer.includes("~") ? steps.map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~")) : steps;
}
