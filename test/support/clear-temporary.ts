import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

/* What a file of tests makes in the folder for temporary files goes when its last test has ended. */

const before = process.env["TMPDIR"];
const folder = mkdtempSync(join(tmpdir(), "clawgress-unit-"));
// Programs that a test starts as another user find what it made for them.
chmodSync(folder, 0o711);
process.env["TMPDIR"] = folder;

afterAll(() => {
  if (before === undefined) delete process.env["TMPDIR"];
  else process.env["TMPDIR"] = before;
  rmSync(folder, { recursive: true, force: true });
});
