import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../../agent/host/run.ts";
import { digestOf, renderLock } from "../../agent/trust/lock.ts";
import { emptyPointers } from "../../agent/trust/pointers.ts";
import { verifyManifest } from "../../agent/trust/verify-approval.ts";
import { judge, makeRoot, makeSigner, rootJson } from "../support/trust.ts";
import type { Measure } from "./row.ts";

/** Judging many approved locks, as an audit of a history does, beside ssh-keygen, which takes them one by one. */
export const measureApprovals: Measure = async ({ quick, say }) => {
  const count = quick ? 200 : 10_000;
  const sampled = quick ? 20 : 200;
  const [alice, bob] = [makeSigner(), makeSigner()];
  const root = makeRoot(rootJson({ alice: [alice.publicLine], bob: [bob.publicLine] }, 2));
  const target = { repository: "egress", branch: "main", group: "default" };
  const policy = Buffer.from('{"version":1,"mode":"deny-all"}\n');
  const files = { "policy.json": digestOf(policy) };
  say(`signing ${count / 2} locks twice`);
  const locks = Array.from({ length: count / 2 }, (_, index) => {
    const lockBytes = renderLock({ version: 1, ...target, serial: index + 1, files });
    return {
      lockBytes,
      signatures: new Map([
        ["alice", alice.sign(lockBytes)],
        ["bob", bob.sign(lockBytes)],
      ]),
    };
  });
  say("judging them");
  const startedMs = performance.now();
  for (const { lockBytes, signatures } of locks) {
    const input = { root, lockBytes, expected: target, verified: emptyPointers.verified, signatures, ...judge };
    const result = verifyManifest({ ...input, files: new Map(Object.entries(files)), insecure: false });
    if (!result.ok) throw new Error(result.message);
  }
  const ours = (performance.now() - startedMs) / 1000;
  const other =
    (await verifyWithSshKeygen(locks.slice(0, sampled / 2), { alice: alice.publicLine, bob: bob.publicLine }, say)) *
    (count / sampled);
  return [
    {
      what: `${count} approvals of ${count / 2} locks judged`,
      unit: "s",
      ours,
      other: { what: "ssh-keygen -Y verify, one by one", value: other },
      goal: "≤ 3 s",
      how: `Ed25519; ours judges locks, targets, serials and digests as well; ssh-keygen measured on ${sampled} and scaled`,
    },
  ];
};

/** Returns how many seconds ssh-keygen takes for the approvals of some locks. */
async function verifyWithSshKeygen(
  locks: readonly { readonly lockBytes: Buffer; readonly signatures: ReadonlyMap<string, Buffer> }[],
  keys: { readonly [name: string]: string },
  say: (text: string) => void,
): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "clawgress-bench-"));
  try {
    const signers = join(folder, "allowed_signers");
    const lines = Object.entries(keys).map(([name, line]) => `${name} namespaces="clawgress-policy@v1" ${line}\n`);
    await writeFile(signers, lines.join(""));
    say("asking ssh-keygen");
    let tookMs = 0;
    for (const { lockBytes, signatures } of locks) {
      for (const [name, signature] of signatures) {
        const file = join(folder, "signature");
        await writeFile(file, signature);
        const argv = [
          "ssh-keygen",
          "-Y",
          "verify",
          "-f",
          signers,
          "-I",
          name,
          "-n",
          "clawgress-policy@v1",
          "-s",
          file,
        ] as const;
        const startedMs = performance.now();
        const { exitCode } = await run(argv, { timeoutMs: 10_000, stdin: lockBytes });
        tookMs += performance.now() - startedMs;
        if (exitCode !== 0) throw new Error("ssh-keygen refuses what we accept");
      }
    }
    return tookMs / 1000;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
