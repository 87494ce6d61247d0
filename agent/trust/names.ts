import type { TextRule } from "./fields.ts";

/** Names of repositories and gateway groups: opaque words, compared byte by byte. */
export const nameRule: TextRule = {
  pattern: /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
  about: "a name of 1 to 63 letters, digits, dots, underscores and hyphens that starts with a letter or digit",
};

/** Branch names; the subset of Git's rules that needs no quoting anywhere. */
export const branchRule: TextRule = {
  pattern: /^(?!.*(?:\.\.|\/\/|\/\.|\.\/|\.lock(?:\/|$)))[A-Za-z0-9][A-Za-z0-9._/-]{0,126}(?<![/.])$/,
  about: "a branch name of 1 to 127 letters, digits, dots, underscores, hyphens and slashes",
};

/** Principals become file names, so they have no capitals, no leading dot and no separators. */
export const principalRule: TextRule = {
  pattern: /^[a-z0-9_][a-z0-9._-]{0,63}$/,
  about: "a name of 1 to 64 lower-case letters, digits, dots, underscores and hyphens",
};

export const sha256Rule: TextRule = {
  pattern: /^[0-9a-f]{64}$/,
  about: "a SHA-256 digest in 64 lower-case hex digits",
};
