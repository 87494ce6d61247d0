import { AgentError } from "../errors.ts";
import { readFileBytes } from "./files.ts";

export interface UserIds {
  readonly uid: number;
  readonly gid: number;
}

const MAX_PASSWD_BYTES = 4 * 1024 * 1024;

/**
 * Returns the ids of a user name from /etc/passwd, or of a numeric id (which needs no entry; its group has the same number).
 * @throws AgentError HOST_MISSING when the name is unknown.
 */
export async function resolveUser(user: string): Promise<UserIds> {
  const found = await findUser(user);
  if (found !== null) return found;
  throw new AgentError("HOST_MISSING", `there is no user ${user}`, {
    remedy: `make it (adduser --system ${user}) or name another in agent.json`,
  });
}

/** Returns the same, or null when the name is unknown. */
export async function findUser(user: string): Promise<UserIds | null> {
  if (/^[0-9]+$/.test(user)) return { uid: Number(user), gid: Number(user) };
  const passwd = (await readFileBytes("/etc/passwd", MAX_PASSWD_BYTES)).toString("utf8");
  for (const line of passwd.split("\n")) {
    const [name, , uid, gid] = line.split(":");
    if (name === user && uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  }
  return null;
}
