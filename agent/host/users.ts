import { AgentError } from "../errors.ts";
import { readFileBytes } from "./files.ts";

export interface UserIds {
  readonly uid: number;
  readonly gid: number;
}

const MAX_PASSWD_BYTES = 4 * 1024 * 1024;

/** The settings of agent.json that name the users that our processes run as. */
export type UserSetting = "dns.user" | "gate.user" | "api.user";

/**
 * Returns the ids of a user name from /etc/passwd, or of a numeric id (which needs no entry; its group has the same number).
 * @throws AgentError HOST_MISSING with the setting that names it, when the name is unknown.
 */
export async function resolveUser(user: string, setting: UserSetting): Promise<UserIds> {
  const found = await findUser(user);
  if (found !== null) return found;
  throw new AgentError("HOST_MISSING", `${setting} of agent.json is ${user}, and there is no such user`, {
    remedy: `make it (adduser --system --group --no-create-home ${user}), or name another as ${setting} in agent.json`,
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
