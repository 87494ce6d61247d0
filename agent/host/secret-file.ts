import { AgentError } from "../errors.ts";
import { readFileIfAny } from "./files.ts";

const MAX_SECRET_BYTES = 8192;

/**
 * Returns the secret in a file without the white space around it. Read at each use, because tokens rotate.
 * @throws AgentError HOST_FILE when the file is missing, empty, too long or holds more than one printable line;
 * the message names the file and never shows what is in it.
 */
export async function readSecret(path: string): Promise<string> {
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
