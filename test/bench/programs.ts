import { existsSync } from "node:fs";
import { run } from "../../agent/host/run.ts";

/** Returns whether a program is there; says so and installs its Debian package when it is not. */
export async function haveProgram(name: string, say: (text: string) => void): Promise<boolean> {
  const isThere = (): boolean => ["/usr/bin", "/usr/local/bin"].some((folder) => existsSync(`${folder}/${name}`));
  if (isThere()) return true;
  say(`installing the Debian package ${name}`);
  const argv = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", name] as const;
  await run(argv, { timeoutMs: 120_000, env: { DEBIAN_FRONTEND: "noninteractive" } });
  if (!isThere()) say(`${name} cannot be installed: its rows are left out`);
  return isThere();
}
