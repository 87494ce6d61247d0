import { join } from "node:path";
import { AgentError } from "../errors.ts";
import { credentialId, credentialName } from "../settings/credentials.ts";
import { readFileIfAny } from "./files.ts";

const MAX_SECRET_BYTES = 8192;

/**
 * Returns the path of a secret that agent.json names: a file's as it is, and of `credential:NAME` where systemd has put it.
 * @throws AgentError HOST_FILE when this process was given no credentials
 */
export function secretPath(file: string): string {
  const name = credentialName(file);
  if (name === null) return file;
  const folder = process.env["CREDENTIALS_DIRECTORY"];
  if (folder !== undefined && folder !== "") return join(folder, credentialId(name));
  throw new AgentError("HOST_FILE", `there is no credential ${name}: systemd gave this process none`, {
    remedy: "run it as its unit does, or name the secret's file by its path in agent.json",
  });
}

/**
 * Returns the secret in a file without the white space around it. Read at each use, because tokens rotate.
 * @throws AgentError HOST_FILE when the file is missing, empty, too long or holds more than one printable line;
 * the message names the file and never shows what is in it.
 */
export async function readSecret(file: string): Promise<string> {
  const path = secretPath(file);
  const bytes = await readFileIfAny(path, MAX_SECRET_BYTES);
  if (bytes === null) {
    throw new AgentError("HOST_FILE", `the token file ${path} does not exist`, {
      remedy: `write the token to ${path}`,
    });
  }
  // lstat tells the length of a symbolic link, not of its target: the length counts here.
  const secret = bytes.length > MAX_SECRET_BYTES ? "" : bytes.toString("latin1").trim();
  if (!/^[\x21-\x7e]+$/.test(secret)) {
    throw new AgentError("HOST_FILE", `the token file ${path} does not hold one line of printable ASCII`, {
      remedy: `write the token, and nothing else, to ${path}`,
    });
  }
  return secret;
}
