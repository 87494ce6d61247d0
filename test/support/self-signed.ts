import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runChecked } from "../../agent/host/run.ts";

/**
 * Makes a certificate that is its own authority for some names (`DNS:forge.test,IP:127.0.0.1`) and returns its PEM texts and file.
 * @param between first and last time as `YYYYMMDDhhmmssZ`; by default from now on for two days
 */
export async function makeSelfSigned(
  folder: string,
  name: string,
  alternatives: string,
  between: readonly [string, string] | null = null,
) {
  const key = join(folder, `${name}.key`);
  const file = join(folder, `${name}.pem`);
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const names = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=${alternatives}`];
  const openssl = (...argv: readonly string[]) => runChecked(["openssl", ...argv], { timeoutMs: 10_000 });
  if (between === null) {
    await openssl("req", "-x509", ...kind, "-days", "2", ...names, "-keyout", key, "-out", file);
  } else {
    // Only `openssl ca` takes times of one's choice, in all versions.
    const [request, config] = [join(folder, `${name}.csr`), join(folder, `${name}.cnf`)];
    writeFileSync(join(folder, `${name}.db`), "");
    const lines = [
      "[ca]",
      "default_ca=it",
      "[it]",
      `database=${folder}/${name}.db`,
      `new_certs_dir=${folder}`,
      "rand_serial=yes",
    ];
    const more = ["policy=any", "default_md=sha256", "copy_extensions=copy", "[any]", "commonName=supplied", ""];
    writeFileSync(config, [...lines, ...more].join("\n"));
    await openssl("req", "-new", ...kind, ...names, "-keyout", key, "-out", request);
    const [start, end] = between;
    const times = ["-startdate", start, "-enddate", end];
    await openssl(
      "ca",
      "-batch",
      "-config",
      config,
      "-selfsign",
      "-keyfile",
      key,
      "-in",
      request,
      "-out",
      file,
      "-notext",
      ...times,
    );
  }
  return { file, key: readFileSync(key, "utf8"), cert: readFileSync(file, "utf8") };
}
