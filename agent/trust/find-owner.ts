import { isUsable, type Root } from "./root.ts";
import { isCertificate, parseCertificate } from "./ssh-certificate.ts";
import { parsePublicKey } from "./ssh-key.ts";
import { attempt, decodeBase64, Refusal } from "./ssh-wire.ts";

/** A public key or certificate as a person's machine has it. */
export interface OwnKey {
  readonly fingerprint: string;
  /** Returns the principal of a root whom it counts as; null for nobody, or when it is revoked. */
  ownerIn(root: Root): string | null;
}

/** Returns the key of the line of a .pub file, or null when it is none that can ever count. */
export function readOwnKey(line: string): OwnKey | null {
  const [, base64 = ""] = line.split(" ");
  const certificate = attempt(() => {
    const blob = decodeBase64(base64, "the certificate");
    if (!isCertificate(blob)) throw new Refusal("it is a key");
    return parseCertificate(blob);
  });
  if (certificate.ok) {
    const { fingerprint, key, authority, isBy } = certificate.value;
    const isDead = ({ revoked }: Root): boolean =>
      [fingerprint, key.fingerprint, authority.fingerprint].some((one) => revoked.has(one));
    return {
      fingerprint,
      ownerIn: (root) => {
        if (isDead(root)) return null;
        const owner = root.principals.find(({ certifiers }) =>
          certifiers.some((certifier) => isBy(certifier.authority, certifier.identity)),
        );
        return owner?.name ?? null;
      },
    };
  }
  const parsed = parsePublicKey(line);
  if (!parsed.ok) return null;
  const { fingerprint } = parsed.value;
  return {
    fingerprint,
    ownerIn: (root) => {
      const owner = root.principals.find(({ keys }) => keys.some((key) => key.fingerprint === fingerprint));
      return owner === undefined || root.revoked.has(fingerprint) || !isUsable(owner, root.revoked) ? null : owner.name;
    },
  };
}
