/**
 * Returns whether a path or name fits one of the patterns: `*` stands for anything within a step, `**` for any number of
 * steps. Patterns are cut at their stars and searched for piece by piece, so that none takes long on any text.
 */
export function fitsAny(patterns: readonly string[], text: string): boolean {
  return patterns.some((pattern) => fitsSteps(pattern.split("/"), text.split("/")));
}

function fitsSteps(patterns: readonly string[], steps: readonly string[]): boolean {
  const [pattern, ...others] = patterns;
  if (pattern === undefined) return steps.length === 0;
  if (pattern === "**") {
    // The last `**` that can take everything up to the rest decides; earlier ones only shift it.
    return steps.some((_, skipped) => fitsSteps(others, steps.slice(skipped))) || others.length === 0;
  }
  const [step, ...rest] = steps;
  return step !== undefined && fitsStep(pattern, step) && fitsSteps(others, rest);
}

function fitsStep(pattern: string, step: string): boolean {
  const [start = "", ...pieces] = pattern.split("*");
  const end = pieces.pop();
  if (end === undefined) return step === start;
  if (!step.startsWith(start) || step.length < start.length + end.length || !step.endsWith(end)) return false;
  let rest = step.slice(start.length, step.length - end.length);
  for (const piece of pieces) {
    const at = rest.indexOf(piece);
    if (at === -1) return false;
    rest = rest.slice(at + piece.length);
  }
  return true;
}
