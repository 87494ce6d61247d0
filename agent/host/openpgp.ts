import { AgentError } from "../errors.ts";
import type { OpenPgpCheck } from "../trust/verify-commit.ts";
import { nowMs } from "./clock.ts";

type Library = typeof import("openpgp");

/**
 * Returns the check of OpenPGP signatures by the library, which is loaded here and only here.
 * @throws AgentError HOST_MISSING when it is not installed.
 */
export async function loadOpenPgp(): Promise<OpenPgpCheck> {
  const library = await importLibrary();
  return async (question) => {
    try {
      return await check(library, question);
    } catch (error) {
      // The library's sentences name what is wrong with the signature or the key.
      return { ok: false, why: error instanceof Error ? error.message : String(error) };
    }
  };
}

async function importLibrary(): Promise<Library> {
  try {
    return await import("openpgp");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new AgentError(
      "HOST_MISSING",
      "the root of trust has OpenPGP keys, and the package openpgp is not installed",
      {
        remedy:
          "install it beside the program (`npm install openpgp`), or take the OpenPGP keys out of the root of trust",
        cause: error,
      },
    );
  }
}

async function check(
  library: Library,
  { armored, payload, certificate, seenAtMs }: Parameters<OpenPgpCheck>[0],
): ReturnType<OpenPgpCheck> {
  const refuse = (why: string) => ({ ok: false, why }) as const;
  const signature = await library.readSignature({ armoredSignature: armored.toString("latin1") });
  const [packet, ...others] = signature.packets;
  if (packet === undefined || others.length > 0) return refuse("it is not exactly one signature");
  // A signature of text holds for any line ends: it would not be over these bytes.
  if (packet.signatureType !== library.enums.signature.binary) return refuse("it is not a signature of binary data");
  const key = await library.readKey({ binaryKey: new Uint8Array(certificate) });
  const issuer = packet.issuerKeyID;
  if (key.getKeys(issuer).length === 0) return { ok: false, why: "made with another key", isOtherKey: true };
  const message = await library.createMessage({ binary: new Uint8Array(payload) });
  // Now: nobody has signed in the future.
  const date = new Date(nowMs());
  const { signatures } = await library.verify({ message, signature, verificationKeys: key, date, expectSigned: true });
  const [verdict] = signatures;
  if (verdict === undefined || !(await verdict.verified)) return refuse("it does not fit the content");
  // The library judges the key at the time that the signature claims, which its maker chose: judged again, at the time
  // at which the commit was seen, or a little later when the maker's clock is ahead of ours.
  const judgedAt = new Date(Math.max(seenAtMs, packet.created?.getTime() ?? 0));
  const signing = await key.getSigningKey(issuer, judgedAt);
  const expiry = await key.getExpirationTime();
  if (expiry === null || (expiry !== Number.POSITIVE_INFINITY && Number(expiry) <= judgedAt.getTime())) {
    return refuse("its key has expired");
  }
  return { ok: true, value: signing.getFingerprint().toUpperCase() };
}
