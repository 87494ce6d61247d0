// Takes away each check of agent/trust (and of what leans on it), one at a time, and expects the unit tests to fail:
// `npm run mutate:trust [part of a name]`. Works on a copy, so that a run that is cut off leaves nothing behind.
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const unit = (name) => `test/unit/trust/${name}.test.ts`;
const keys = unit("scenarios-keys");
const history = unit("scenarios-history");
const rules = unit("rules");
const freshness = unit("freshness");
const roots = unit("parse-root");
const locks = unit("parse-lock");
const sshsig = unit("sshsig");
const sshKey = unit("ssh-key");
const pointers = unit("pointers");
const verify = unit("verify-approval");
const commitObject = unit("commit-object");
const signedCommits = unit("signed-commits");
const openPgpKey = unit("openpgp-key");
const fields = unit("fields");
const reach = "test/property/compare-reach.test.ts";
const state = "test/unit/host/state-outcomes.test.ts";

/** [what goes, file, the text of the check, what stands in its place, the tests that must notice] */
const mutations = [
  [
    "a principal outside the role is not counted",
    "trust/approvals.ts",
    "role.principals.includes(name) ? root",
    "true ? root",
    verify,
  ],
  ["a revoked key does not count", "trust/approvals.ts", "if (dead !== undefined) return", "if (false) return", keys],
  [
    "the gateway's own revocations",
    "trust/approvals.ts",
    "root.revoked.has(one) || revoked.has(one)",
    "root.revoked.has(one)",
    keys,
  ],
  [
    "the root's revocations",
    "trust/approvals.ts",
    "root.revoked.has(one) || revoked.has(one)",
    "revoked.has(one)",
    keys,
  ],
  [
    "a key that has ended does not count",
    "trust/approvals.ts",
    "seenAtMs < expiresAtMs) return null",
    "true) return null",
    keys,
  ],
  [
    "a certificate that is not valid yet",
    "trust/approvals.ts",
    "if (seenAtMs < certificate.validFromMs)",
    "if (false)",
    keys,
  ],
  [
    "a certificate that is not valid any more",
    "trust/approvals.ts",
    "seenAtMs < certificate.validUntilMs ? null",
    "true ? null",
    keys,
  ],
  [
    "a revoked authority or certificate",
    "trust/approvals.ts",
    "return [fingerprint, certificate.fingerprint, certificate.authority.fingerprint]",
    "return [fingerprint]",
    keys,
  ],
  [
    "how many are missing",
    "trust/approvals.ts",
    "missing: Math.max(0, role.threshold - counted.length)",
    "missing: 0",
    history,
  ],

  [
    "the namespace of a signature",
    "trust/sshsig.ts",
    "if (parsed.namespace !== input.namespace)",
    "if (false)",
    sshsig,
  ],
  [
    "the reserved field is empty",
    "trust/sshsig.ts",
    'if (wire.string("reserved").length !== 0)',
    'if (wire.string("reserved").length < 0)',
    sshsig,
  ],
  ["SHA-1 and unknown hashes", "trust/sshsig.ts", 'if (hash !== "sha256" && hash !== "sha512")', "if (false)", sshsig],
  ["the version of a signature", "trust/sshsig.ts", "if (version !== 1)", "if (false)", sshsig],
  [
    "the magic of a signature",
    "trust/sshsig.ts",
    'if (!wire.raw("magic", MAGIC.length).equals(Buffer.from(MAGIC)))',
    'if (!wire.raw("magic", MAGIC.length))',
    sshsig,
  ],
  [
    "the signature fits the content",
    "trust/sshsig.ts",
    "if (!verifyRaw(key, signed, parsed.signature))",
    "if (false)",
    sshsig,
  ],
  ["the size of a signature", "trust/sshsig.ts", "if (bytes.length > MAX_SIGNATURE_BYTES)", "if (false)", sshsig],
  ["carriage returns", "trust/sshsig.ts", 'if (text.includes("\\r"))', "if (false)", sshsig],
  ["formats of others are named", "trust/sshsig.ts", "if (foreign !== undefined)", "if (false)", keys],
  [
    "one armor and nothing else",
    "trust/sshsig.ts",
    "if (!body.startsWith(BEGIN) || !body.endsWith(END) || body.length <= BEGIN.length + END.length)",
    "if (false)",
    sshsig,
  ],
  [
    "lines of the armor",
    "trust/sshsig.ts",
    'if (lines.some((line) => line === "" || line.length > 76))',
    "if (false)",
    sshsig,
  ],
  [
    "the key is a listed one",
    "trust/sshsig.ts",
    "keys.find((candidate) => candidate.blob.equals(blob))",
    "keys[0]",
    sshsig,
  ],
  [
    "the certificate is by a listed authority for a listed name",
    "trust/sshsig.ts",
    "certificate.isBy(authority, identity)",
    "true",
    keys,
  ],

  [
    "an algorithm goes with its type of key",
    "trust/ssh-signature.ts",
    "known === undefined || known.keys !== key.algorithm",
    "known === undefined",
    sshsig,
  ],
  [
    "somebody touched the security key",
    "trust/ssh-signature.ts",
    "if ((flags & FLAG_USER_PRESENT) === 0)",
    "if (false)",
    sshsig,
  ],
  [
    "a certificate is a person's",
    "trust/ssh-certificate.ts",
    'if (wire.uint32("type") !== TYPE_USER)',
    'if (wire.uint32("type") < 0)',
    keys,
  ],
  [
    "a certificate without critical options",
    "trust/ssh-certificate.ts",
    'if (wire.string("critical options").length > 0)',
    'if (wire.string("critical options").length < 0)',
    keys,
  ],
  [
    "the authority signed the certificate",
    "trust/ssh-certificate.ts",
    "if (!verifyRaw(authority, signed, signature))",
    "if (false)",
    keys,
  ],
  ["a certificate names somebody", "trust/ssh-certificate.ts", "if (identities.length === 0)", "if (false)", keys],
  [
    "the authority of a certificate is the same key",
    "trust/ssh-certificate.ts",
    "other.blob.equals(authority.blob) && identities",
    "identities",
    keys,
  ],
  ["RSA has 2,048 bits", "trust/ssh-key.ts", "if (bits < MIN_RSA_BITS)", "if (false)", sshKey],
  [
    "Ed25519 points of small order",
    "trust/ssh-key.ts",
    'if (weakEd25519.has(y.toString("hex")))',
    "if (false)",
    sshKey,
  ],
  [
    "the line and the key name one algorithm",
    "trust/ssh-key.ts",
    "if (expected !== undefined && inside !== expected)",
    "if (false)",
    sshKey,
  ],
  ["nothing stands behind a key", "trust/ssh-wire.ts", "if (offset !== bytes.length)", "if (false)", sshKey],
  [
    "base64 has one spelling",
    "trust/ssh-wire.ts",
    'if (text === "" || bytes.toString("base64") !== text)',
    "if (false)",
    sshKey,
  ],

  ["one key for two people", "trust/parse-principals.ts", "if (owner !== undefined)", "if (false)", roots],
  ["a principal has keys", "trust/parse-principals.ts", "if (Object.keys(object).length === 0)", "if (false)", keys],
  [
    "a certificate is of a listed authority",
    "trust/parse-principals.ts",
    "if (authority === undefined)",
    "if (authority === null)",
    "test/contract/trust-schemas.test.ts",
  ],
  ["thresholds are within reach", "trust/parse-roles.ts", "threshold`, 1, usable", "threshold`, 1, 100", roots],
  ["thresholds are above zero", "trust/parse-roles.ts", "threshold`, 1, usable", "threshold`, 0, usable", roots],
  [
    "a threshold to tighten is above zero",
    "trust/parse-roles.ts",
    "tighten`, 1, threshold",
    "tighten`, 0, threshold",
    keys,
  ],
  ["a role names nobody twice", "trust/parse-roles.ts", "if (seen.has(name))", "if (false)", roots],
  ["a role names nobody unknown", "trust/parse-roles.ts", "if (!context.names.has(name))", "if (false)", roots],
  ["revoked people do not make a threshold", "trust/parse-roles.ts", "context.usable.has(String(name))", "true", keys],
  ["a root of version 1", "trust/parse-root.ts", '"/version", 1, 1)', '"/version", 1, 9)', roots],
  [
    "a fingerprint has its spelling",
    "trust/parse-root.ts",
    "/^SHA256:[A-Za-z0-9+/]{43}$/",
    "/./",
    "test/contract/trust-schemas.test.ts",
  ],

  ["the next root has the next number", "trust/root-chain.ts", "if (root.root !== number)", "if (false)", history],
  [
    "the next root is of the same repository",
    "trust/root-chain.ts",
    "if (root.repository !== current.repository)",
    "if (false)",
    history,
  ],
  [
    "the threshold of the old root and of the new",
    "trust/root-chain.ts",
    "if (count.missing > 0)",
    "if (false)",
    history,
  ],
  [
    "the old root is asked",
    "trust/root-chain.ts",
    "old: { root: current, count: count(current, byOld) }",
    "old: { root: next, count: count(next, byNew) }",
    history,
  ],
  [
    "the new root is asked",
    "trust/root-chain.ts",
    "new: { root: next, count: count(next, byNew) }",
    "new: { root: current, count: count(current, byOld) }",
    history,
  ],
  [
    "roots have a namespace of their own",
    "trust/root-chain.ts",
    '"clawgress-root@v1"',
    '"clawgress-policy@v1"',
    history,
  ],
  [
    "a commit without the roots that were followed",
    "trust/root-chain.ts",
    "if (newest < current.root)",
    "if (false)",
    history,
  ],
  ["no root is left out", "trust/root-chain.ts", "if (!numbers.includes(number))", "if (false)", verify],

  [
    "the root is of this repository",
    "trust/verify-approval.ts",
    "if (root.repository !== expected.repository)",
    "if (false)",
    keys,
  ],
  [
    "the lock is for this repository, branch and group",
    "trust/verify-approval.ts",
    "if (lock[field] === expected[field]) continue",
    "continue",
    keys,
  ],
  [
    "the lock of a part is for that part",
    "trust/verify-approval.ts",
    "if (lock.part !== expected)",
    "if (false)",
    rules,
  ],
  ["a lock lists no files of another", "trust/verify-approval.ts", "if (owner === part) continue", "continue", rules],
  ["every requirement is met", "trust/verify-approval.ts", "if (unmet !== undefined)", "if (false)", verify],
  ["an older root than before", "trust/verify-approval.ts", "if (root.root < verified.root)", "if (false)", verify],
  ["an older serial", "trust/verify-approval.ts", "lock.serial < floor.serial || ", "", history],
  [
    "a serial without a known lock",
    "trust/verify-approval.ts",
    "(lock.serial === floor.serial && floor.lockDigest === null)",
    "false",
    verify,
  ],
  [
    "a void serial",
    "trust/verify-approval.ts",
    "if (root.serials !== null && lock.serial >= root.serials.void)",
    "if (false)",
    history,
  ],
  [
    "one serial, two contents",
    "trust/verify-approval.ts",
    "if (lock.serial === floor.serial && lockDigest !== floor.lockDigest)",
    "if (false)",
    history,
  ],
  ["no file that is not listed", "trust/verify-approval.ts", "if (unlisted !== undefined)", "if (false)", verify],
  ["no listed file is missing", "trust/verify-approval.ts", "if (digest === null)", "if (false)", verify],
  [
    "every file is what the lock lists",
    "trust/verify-approval.ts",
    "if (digest !== lock.files[path])",
    "if (false)",
    verify,
  ],

  ["the lock has one spelling", "trust/parse-lock.ts", "if (canonical.equals(bytes))", "if (true)", locks],
  [
    "no two paths differ only in capitals",
    "trust/parse-lock.ts",
    "?? clashWith(folded.get(path.toLowerCase()))",
    "",
    locks,
  ],
  [
    "no path leads out",
    "trust/lock.ts",
    'if (segments.some((segment) => segment === "." || segment === ".."))',
    "if (false)",
    locks,
  ],
  [
    "no path leads into .git",
    "trust/lock.ts",
    "if (segments.some((segment) => /^(?:\\.git|git~[0-9]+)$/i.test(segment)))",
    "if (false)",
    locks,
  ],
  [
    "no approval or root is listed",
    "trust/lock.ts",
    "if (/^(?:approvals|locks|trust)$/i.test(first))",
    "if (false)",
    "test/contract/trust-schemas.test.ts",
  ],

  [
    "the pointer never goes to an older root",
    "trust/pointers.ts",
    "if (next.root < current.root)",
    "if (false)",
    pointers,
  ],
  [
    "the pointer never goes to another root of the number",
    "trust/pointers.ts",
    "if (next.root === current.root && current.rootDigest !== null && next.rootDigest !== current.rootDigest)",
    "if (false)",
    pointers,
  ],
  [
    "the pointer never goes to an older serial",
    "trust/pointers.ts",
    "if (after.serial < before.serial)",
    "if (false)",
    pointers,
  ],
  [
    "the pointer never goes to another lock of the serial",
    "trust/pointers.ts",
    "if (after.serial === before.serial && before.lockDigest !== null && after.lockDigest !== before.lockDigest)",
    "if (false)",
    pointers,
  ],
  [
    "serials come back by a newer root only",
    "trust/pointers.ts",
    "next.root > current.root ? takeBackSerials(current, serials) : current",
    "takeBackSerials(current, serials)",
    pointers,
  ],
  [
    "a slot is exactly as it was written",
    "trust/pointers.ts",
    "encodeSlot(kind, slot).equals(bytes) ? slot : null",
    "slot",
    pointers,
  ],
  [
    "two slots of one sequence are the same",
    "trust/pointers.ts",
    "a.sequence !== b.sequence || bytes.a?.equals(bytes.b ?? Buffer.alloc(0))",
    "true",
    pointers,
  ],
  [
    "void serials are taken back to the restart",
    "trust/pointers.ts",
    "serials !== null && serial >= serials.void",
    "false",
    history,
  ],

  [
    "fewer only when nothing is wider",
    "trust/requirements.ts",
    "isNext && !changes.some(({ widens }) => widens)",
    "isNext",
    rules,
  ],
  ["fewer only right after what was verified", "trust/requirements.ts", "isNext && !changes", "!changes", rules],
  [
    "what is not known counts as wider",
    "trust/requirements.ts",
    "if (before === null || before.policy === null || after.policy === null)",
    "if (before === null || (before.policy === null && after.policy === null))",
    rules,
  ],
  [
    "a file rule holds only within its hosts",
    "trust/requirements.ts",
    "fitsAny(rule.files, path) && staysWithin(rule, changes)",
    "fitsAny(rule.files, path)",
    rules,
  ],
  [
    "a host rule holds only for its hosts",
    "trust/requirements.ts",
    "if (names.length === 0 || !names.every((name) => fitsAny(hosts, name))) return false",
    "if (names.length === 0) return false",
    rules,
  ],
  ["a host rule does not hold for everybody", "trust/requirements.ts", "names.length === 0 || !names", "!names", rules],
  [
    "hosts take addresses only from their sources",
    "trust/requirements.ts",
    "before === after || ranges.every((range) => liesWithin(range, sources ?? []))",
    "true",
    rules,
  ],
  [
    "what stands beside the hosts is the leads'",
    "trust/requirements.ts",
    "byHost.length === 0 || isBeyond",
    "byHost.length === 0",
    rules,
  ],
  ["text without meaning is the leads'", "trust/requirements.ts", "byHost.length === 0 || isBeyond", "isBeyond", rules],
  [
    "a part says nothing about others",
    "trust/requirements.ts",
    "findForeign(part.hosts, after.policy, after.files) === null &&",
    "",
    rules,
  ],
  [
    "a rule that is gone leaves it to the role policy",
    "trust/requirements.ts",
    "found ?? root.roles.policy, tightens",
    "found ?? { principals: [], threshold: 0, tighten: 0 }, tightens",
    rules,
  ],
  [
    "what was approved before is asked for the same again",
    "steps/trust-steps.ts",
    "if (floor.lockDigest !== lockDigest) return required",
    "if (true) return required",
    rules,
  ],

  [
    "freshness is for this place",
    "trust/freshness.ts",
    "if (fresh[field] !== expected[field])",
    "if (false)",
    freshness,
  ],
  ["freshness is approved", "trust/freshness.ts", "if (count.missing > 0)", "if (false)", freshness],
  ["freshness of an older serial", "trust/freshness.ts", "if (fresh.serial < serial)", "if (false)", freshness],
  ["freshness of a newer serial", "trust/freshness.ts", "if (fresh.serial > serial)", "if (false)", freshness],
  [
    "freshness has a namespace of its own",
    "trust/freshness.ts",
    '"clawgress-fresh@v1"',
    '"clawgress-policy@v1"',
    freshness,
  ],
  ["freshness only prolongs", "trust/freshness.ts", "validUntilMs > knownMs", "true", freshness],
  [
    "the same statement is no proof",
    "trust/freshness.ts",
    "prolongs || isNews ? formatTime(seenAtMs)",
    "true ? formatTime(seenAtMs)",
    freshness,
  ],
  ["the maximum age bounds who vouches", "trust/freshness.ts", "Math.min(byRole, byAge)", "byRole", freshness],
  ["the role bounds the age", "trust/freshness.ts", "Math.min(byRole, byAge)", "byAge", freshness],
  ["the clock does not go back", "trust/clock.ts", "Math.max(wallMs, passedMs + elapsedMs)", "wallMs", freshness],
  [
    "a clock that is ahead is not believed for ever",
    "trust/clock.ts",
    "Math.min(wallMs, passedMs + 2 * elapsedMs)",
    "wallMs",
    freshness,
  ],
  ["a time is the first sight's", "trust/evidence.ts", "bytes?.equals(kept.bytes)", "true", keys],
  [
    "a kept signature keeps its time",
    "trust/evidence.ts",
    "Math.min(kept.seenAtMs, commitSeenAtMs)",
    "commitSeenAtMs",
    keys,
  ],
  ["kept evidence is of that lock", "trust/evidence.ts", "|| digestOf(lockBytes) !== lockDigest", "", unit("evidence")],
  ["a request is signed for recovery", "trust/recovery.ts", '"clawgress-recovery@v1"', '"clawgress-policy@v1"', state],

  [
    "another root of the installed number",
    "steps/root-steps.ts",
    "if (installed.root.root === verified.root && installed.digest !== verified.rootDigest)",
    "if (false)",
    history,
  ],
  [
    "the chain leads to the root that was followed",
    "steps/root-steps.ts",
    "if (root.root === verified.root && digest !== verified.rootDigest)",
    "if (false)",
    history,
  ],
  [
    "the chain leads as far as it did",
    "steps/root-steps.ts",
    "if (root.root.root < verified.root)",
    "if (false)",
    history,
  ],
  [
    "a root is never changed",
    "source/read-roots.ts",
    'if ("root" in opened && opened.digest === digest) return',
    "return",
    history,
  ],
  [
    "nothing is raised without approvals",
    "steps/raise-verified.ts",
    "if (isApproved(root, evidence))",
    "if (true)",
    state,
  ],
  [
    "the state is this gateway's",
    "host/pointer-store.ts",
    "found.gateway === gateway && found.repository === repository",
    "true",
    state,
  ],

  [
    "a wider name",
    "policy/group-reach.ts",
    "return hasWiderName(before, after, denials, audited) || ",
    "return ",
    reach,
  ],
  ["a wider network", "policy/group-reach.ts", " || hasWiderNetwork(before, after, denials, audited)", "", reach],
  ["a lifted denial", "policy/group-reach.ts", "if (liftsDenial(before, after, denials)) return true", "", reach],
  ["audit", "policy/group-reach.ts", '|| (after.mode === "audit" && before.mode !== "audit")', "", reach],
  ["a proxy that goes", "policy/group-reach.ts", "if (before.isProxied && !after.isProxied) return true", "", reach],
  [
    "other resolvers",
    "policy/group-reach.ts",
    "before.rest !== after.rest || before.zones !== after.zones",
    "before.rest !== after.rest",
    reach,
  ],
  ["a higher limit", "policy/compare-reach.ts", "|| faster ||", "||", reach],

  [
    "a key that is missing",
    "trust/fields.ts",
    "required.filter((key) => !Object.hasOwn(object, key))",
    "required.slice(0, 0)",
    roots,
  ],
  ["a key that nobody knows", "trust/fields.ts", "!required.includes(key) && !optional.includes(key)", "false", roots],
  [
    "how many entries",
    "trust/fields.ts",
    "if (count >= 1 && count <= most) return true",
    "if (true) return true",
    roots,
  ],
  [
    "what a text may be",
    "trust/fields.ts",
    'typeof value === "string" && pattern.test(value)',
    'typeof value === "string"',
    roots,
  ],
  ["how large a number is", "trust/fields.ts", " && value >= least && value <= most", "", locks],
  ["a day that there is not", "trust/fields.ts", " || formatTime(atMs) !== text", "", fields],
  ["a name that leads elsewhere", "trust/names.ts", "/^[a-z0-9_][a-z0-9._-]{0,63}$/", "/^.{1,64}$/", roots],
  ["a commit's size", "trust/commit-object.ts", "if (raw.length > MAX_COMMIT_BYTES)", "if (false)", commitObject],
  ["a NUL in a commit", "trust/commit-object.ts", "if (raw.includes(0))", "if (false)", commitObject],
  [
    "a header of one line",
    "trust/commit-object.ts",
    'if (lines[at]?.text.startsWith(" "))',
    "if (false)",
    commitObject,
  ],
  ["the name of a tree", "trust/commit-object.ts", "tree === null || !ID.test(tree)", "tree === null", commitObject],
  ["the name of a parent", "trust/commit-object.ts", "if (!ID.test(parent))", "if (false)", commitObject],
  ["a parent twice", "trust/commit-object.ts", "if (parents.includes(parent))", "if (false)", commitObject],
  [
    "how many parents",
    "trust/commit-object.ts",
    "parents.push(parent) > MAX_PARENTS",
    "parents.push(parent) > 1e9",
    commitObject,
  ],
  ["author and committer", "trust/commit-object.ts", "if (!author || !committer)", "if (false)", commitObject],
  [
    "a header without a name",
    "trust/commit-object.ts",
    'if (name === "") throw new Refusal("a header',
    'if (false) throw new Refusal("a header',
    commitObject,
  ],
  ["how many headers", "trust/commit-object.ts", "headers.size > MAX_HEADERS", "headers.size > 1e9", commitObject],
  [
    "a header in the wrong place",
    "trust/commit-object.ts",
    'if (["tree", "parent", ...PEOPLE].includes(lower))',
    "if (false)",
    commitObject,
  ],
  [
    "another kind of signature header",
    "trust/commit-object.ts",
    "if (lower.startsWith(SIGNATURE) && name !== SIGNATURE)",
    "if (false)",
    commitObject,
  ],
  [
    "a second header",
    "trust/commit-object.ts",
    'if (seen.has(name) && name !== "mergetag")',
    "if (false)",
    commitObject,
  ],
  [
    "an unsigned commit",
    "trust/verify-commit.ts",
    'if (commit.signature === null) return unsigned(root, commit, "it has no signature");',
    'if (commit.signature === null) return { ok: true, principal: "nobody" };',
    signedCommits,
  ],
  [
    "what a commit's signature is for",
    "trust/verify-commit.ts",
    'COMMIT_NAMESPACE = "git"',
    'COMMIT_NAMESPACE = "file"',
    signedCommits,
  ],
  [
    "OpenPGP keys of the role alone",
    "trust/verify-commit.ts",
    "root.principals.filter(({ name }) => root.roles.policy.principals.includes(name))",
    "root.principals",
    signedCommits,
  ],
  [
    "a revoked OpenPGP key",
    "trust/verify-commit.ts",
    "if (root.revoked.has(fingerprint) || revoked.has(fingerprint)) continue;",
    "",
    signedCommits,
  ],
  [
    "what the OpenPGP library says",
    "trust/verify-commit.ts",
    "if (result.ok) return { ok: true, value: name };",
    "return { ok: true, value: name };",
    signedCommits,
  ],
  [
    "a certificate's size",
    "trust/openpgp-key.ts",
    "if (base64.length > MAX_OPENPGP_CHARACTERS)",
    "if (false)",
    openPgpKey,
  ],
  [
    "a star stays within its step",
    "trust/patterns.ts",
    'const steps = text.split("/");',
    "const steps = [text];",
    rules,
  ],
  ["the whole text fits", "trust/patterns.ts", "pattern.slice(wanted).every((one) => one === star)", "true", rules],
  ["a step that does not fit", "trust/patterns.ts", "} else return false;", "} else found += 1;", rules],
  [
    "a letter is only itself",
    "trust/patterns.ts",
    "(wanted, found) => wanted === found",
    "(wanted, found) => wanted.toLowerCase() === found.toLowerCase()",
    rules,
  ],
  ["the last star takes more when it must", "trust/patterns.ts", "back.found += 1;", "return false;", rules],

  [
    "a root whose thresholds depend on what is meant",
    "trust/require-for-locks.ts",
    "if (!dependsOnMeaning(root))",
    "if (true)",
    rules,
  ],
  [
    "a serial that skips one is no next one",
    "trust/require-for-locks.ts",
    "lock.serial === (before?.lock.serial ?? 0) + 1",
    "true",
    rules,
  ],
  [
    "each lock answers for its own change",
    "trust/require-for-locks.ts",
    "const from = { files: before?.lock.files ?? {}, policy, contents: files };",
    "const from = { files: lock.files, policy: next, contents: nextFiles };",
    rules,
  ],
  [
    "the next lock begins where the last one ended",
    "trust/require-for-locks.ts",
    "    policy = next;\n",
    "    policy = final;\n",
    rules,
  ],
  [
    "what a lock does not list any more is gone",
    "trust/require-for-locks.ts",
    "filter(([path]) => gone?.has(path) !== true)",
    "filter(([path]) => gone?.has(path) !== false)",
    rules,
  ],
  [
    "bytes that are not what the lock lists",
    "trust/require-for-locks.ts",
    "bytes != null && digestOf(bytes) === digest",
    "bytes != null",
    rules,
  ],

  ["only numbers are roots", "trust/root.ts", "/^([1-9][0-9]{0,8})\\.json$/", "/([0-9]+)\\.json$/", verify],
  ["roots in the order of their numbers", "trust/root.ts", "a - b", "b - a", verify],
  ["a revoked key is not usable", "trust/root.ts", "!revoked.has(fingerprint)", "true", keys],
  ["a revoked authority is not usable", "trust/root.ts", "!revoked.has(authority.fingerprint)", "true", keys],
  [
    "those of rules may approve, too",
    "trust/root.ts",
    "[root.roles.policy, ...root.rules]",
    "[root.roles.policy]",
    rules,
  ],

  [
    "an OpenPGP key is judged when the commit was seen, not when it claims to be made",
    "host/openpgp.ts",
    "Math.max(seenAtMs, packet.created?.getTime() ?? 0)",
    "packet.created?.getTime() ?? 0",
    signedCommits,
  ],

  ["a private key", "trust/openpgp-key.ts", "packets.some(({ tag }) => SECRET_TAGS.has(tag))", "false", openPgpKey],
  [
    "a certificate begins with its key",
    "trust/openpgp-key.ts",
    "primary === undefined || packets[0] !== primary",
    "primary === undefined",
    openPgpKey,
  ],
  ["one key in a certificate", "trust/openpgp-key.ts", "if (primaries.length > 1)", "if (false)", openPgpKey],
];

const copy = mkdtempSync(join(tmpdir(), "clawgress-mutate-"));
process.on("exit", () => rmSync(copy, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));
for (const name of [
  "agent",
  "test",
  "policy-schema",
  "examples",
  "package.json",
  "tsconfig.json",
  "vitest.config.ts",
]) {
  cpSync(join(root, name), join(copy, name), { recursive: true });
}
symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));

/** Returns whether the tests pass. */
function passes(...files) {
  const argv = ["vitest", "run", "--project", "unit", "--bail", "1", ...files];
  return spawnSync("npx", argv, { cwd: copy, stdio: "ignore", timeout: 300_000 }).status === 0;
}

const wanted = process.argv[2] ?? "";
const chosen = mutations.filter(([what, file]) => what.includes(wanted) || file.includes(wanted));
if (!passes(...new Set(chosen.map((mutation) => mutation[4])))) {
  console.error("the tests fail before anything is changed");
  process.exit(1);
}
let survived = 0;
for (const [what, name, check, instead, tests] of chosen) {
  const file = join(copy, "agent", name);
  const text = readFileSync(file, "utf8");
  if (text.split(check).length !== 2) {
    console.log(`?  ${name}: the check is not there exactly once: ${check}`);
    survived += 1;
    continue;
  }
  writeFileSync(
    file,
    text.replace(check, () => instead),
  );
  const isNoticed = !passes(tests);
  writeFileSync(file, text);
  if (!isNoticed) survived += 1;
  console.log(`${isNoticed ? "✓" : "✗"}  ${name}: ${what}`);
}
console.log(`${chosen.length - survived} of ${chosen.length} checks are missed when they are gone`);
process.exitCode = survived === 0 ? 0 : 1;
