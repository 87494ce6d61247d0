import { type JsonTextOptions, parseJsonText } from "./json-text.ts";

const includeKey = Buffer.from('"include"');

/**
 * Returns the paths that a policy file includes, so that they can be read before it is judged; none for a text that is
 * no policy, which is told when it is judged.
 */
export function listIncludes(bytes: Uint8Array, options: JsonTextOptions): readonly string[] {
  // Most files include nothing, and a large one takes a while to read.
  if (!Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes(includeKey)) return [];
  const text = parseJsonText(bytes, options);
  if (!text.ok || text.value === null || typeof text.value !== "object") return [];
  const { include } = text.value as { readonly include?: unknown };
  return Array.isArray(include) ? include.filter((path): path is string => typeof path === "string") : [];
}
