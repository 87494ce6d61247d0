import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { join } from "node:path";
import { AgentError } from "../errors.ts";

/** Where Debian keeps programs of administrators; a service's PATH may lack one of them. */
const MORE_FOLDERS = ["/usr/sbin", "/usr/bin"] as const;

/** Returns the absolute path of a program. @throws AgentError HOST_MISSING */
export async function findProgram(name: string): Promise<string> {
  for (const folder of [...(process.env["PATH"] ?? "").split(":"), ...MORE_FOLDERS]) {
    if (!folder.startsWith("/")) continue;
    const path = join(folder, name);
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return path;
  }
  throw new AgentError("HOST_MISSING", `there is no program ${name}`, {
    remedy: `install the package that provides ${name}`,
  });
}
