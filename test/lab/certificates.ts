import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runChecked } from "../../agent/host/run.ts";
import { names, wildcardZones } from "./addresses.ts";

/** PEM files of the lab's certificate authority and of the one certificate that all TLS servers show. */
export interface CertificateFiles {
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
}

const extraNames = ["www.chain.test", "edge.cdn-unlisted.test", "alias.allowed.test"] as const;
const timeoutMs = 20_000;

/** Makes a certificate authority and a server certificate for all names of the lab, valid for 30 days. @throws AgentError HOST_COMMAND */
export async function makeCertificates(folder: string, env: { [name: string]: string }): Promise<CertificateFiles> {
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const file = (name: string): string => join(folder, name);
  const files = { ca: file("ca.pem"), certificate: file("server.pem"), key: file("server.key") };
  const hosts = [...Object.keys(names), ...wildcardZones.map((zone) => `*.${zone}`), "*.moving.test", ...extraNames];
  // A file rather than the command line: openssl splits long values at commas.
  const alternatives = hosts.map((host, index) => `DNS.${index + 1} = ${host}`).join("\n");
  await writeFile(
    file("openssl.conf"),
    `[req]
distinguished_name = name
prompt = no
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = @alternatives
[alternatives]
${alternatives}
`,
  );
  const common = [
    "openssl",
    "req",
    "-x509",
    "-config",
    file("openssl.conf"),
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-sha256",
    "-days",
    "30",
  ] as const;
  const caKey = file("ca.key");
  await runChecked([...common, "-extensions", "ca", "-subj", "/CN=Lab CA", "-keyout", caKey, "-out", files.ca], {
    timeoutMs,
    env,
  });
  await runChecked(
    [
      ...common,
      "-extensions",
      "server",
      "-subj",
      "/CN=lab.test",
      "-CA",
      files.ca,
      "-CAkey",
      caKey,
      "-keyout",
      files.key,
      "-out",
      files.certificate,
    ],
    { timeoutMs, env },
  );
  return files;
}
