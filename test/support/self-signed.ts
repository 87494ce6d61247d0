import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runChecked } from "../../agent/host/run.ts";

/** Makes a certificate that is its own authority for some names (`DNS:forge.test,IP:127.0.0.1`) and returns its PEM texts and file. */
export async function makeSelfSigned(folder: string, name: string, alternatives: string) {
  const key = join(folder, `${name}.key`);
  const file = join(folder, `${name}.pem`);
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
  const names = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=${alternatives}`];
  await runChecked(["openssl", "req", "-x509", ...kind, ...names, "-keyout", key, "-out", file], { timeoutMs: 10_000 });
  return { file, key: readFileSync(key, "utf8"), cert: readFileSync(file, "utf8") };
}
