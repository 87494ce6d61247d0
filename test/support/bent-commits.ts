import fc from "fast-check";

/** Ways to bend a commit object: each takes its lines and gives others. */
export type Bend = (lines: readonly string[]) => readonly string[];

const EVIL = "e".repeat(40);
const dictionary = [
  `tree ${EVIL}`,
  `parent ${EVIL}`,
  "author Eve <eve@example.org> 0 +0000",
  "committer Eve <eve@example.org> 0 +0000",
  "encoding UTF-8",
  "gpgsig x",
  "gpgsig -----BEGIN SSH SIGNATURE-----",
  "gpgsig -----BEGIN PGP SIGNATURE-----",
  "gpgsig-sha256 x",
  "gpgsig",
  "GPGSIG x",
  " -----END SSH SIGNATURE-----",
  "-----END PGP SIGNATURE-----",
  "mergetag object x",
  "unknown header",
  "",
  " ",
  "\r",
  "\0",
] as const;

const at = fc.nat({ max: 30 });
const bend: fc.Arbitrary<Bend> = fc.oneof(
  at.map(
    (index): Bend =>
      (lines) => [...lines.slice(0, index), lines[index] ?? "", ...lines.slice(index)],
  ),
  at.map(
    (index): Bend =>
      (lines) =>
        lines.toSpliced(index, 1),
  ),
  fc.tuple(at, at).map(
    ([a, b]): Bend =>
      (lines) =>
        lines.toSpliced(a, 1).toSpliced(b, 0, lines[a] ?? ""),
  ),
  fc.tuple(at, fc.constantFrom(...dictionary)).map(
    ([index, line]): Bend =>
      (lines) =>
        lines.toSpliced(index, 0, line),
  ),
  fc.tuple(at, fc.nat({ max: 90 }), fc.nat({ max: 255 })).map(
    ([index, column, byte]): Bend =>
      (lines) => {
        const line = lines[index] ?? "";
        return lines.with(
          Math.min(index, lines.length - 1),
          line.slice(0, column) + String.fromCharCode(byte) + line.slice(column + 1),
        );
      },
  ),
);

/** Any of the commits, bent one to three times, as bytes. */
export function bentCommits(raws: readonly Buffer[]): fc.Arbitrary<Buffer> {
  return fc.tuple(fc.constantFrom(...raws), fc.array(bend, { minLength: 1, maxLength: 3 })).map(([raw, bends]) => {
    const lines = bends.reduce<readonly string[]>((current, one) => one(current), raw.toString("latin1").split("\n"));
    return Buffer.from(lines.join("\n"), "latin1");
  });
}
