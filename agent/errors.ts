/**
 * The one table of error codes. Control flow branches on a code and on what the table says the loop does next,
 * never on message text. The prefix names the stage (folder) that throws it.
 */

/** What the loop does next: try the same commit again; wait for another commit; wait for an operator; restore the old release; end the process. */
export type Response = "retry" | "hold" | "wait" | "roll-back" | "stop";

interface CodeRow {
  readonly response: Response;
  /** Exit status of a one-shot command that ends with this code. */
  readonly exit: number;
  /** One sentence for the documentation. */
  readonly about: string;
}

export const codes = {
  USAGE: { response: "stop", exit: 2, about: "the command line is wrong" },
  SETTINGS_INVALID: { response: "stop", exit: 3, about: "agent.json is missing, unreadable or wrong" },
  STATE_CORRUPT: {
    response: "stop",
    exit: 4,
    about: "the persisted state is missing or damaged; the enforced policy stays",
  },
  STATE_LOCKED: { response: "stop", exit: 5, about: "another agent works with the same state folder" },

  AGENT_UNREACHABLE: { response: "retry", exit: 6, about: "the agent does not answer on its control socket" },
  API_UNREACHABLE: { response: "retry", exit: 7, about: "the process of the API does not answer on its socket" },

  SOURCE_UNREACHABLE: { response: "retry", exit: 10, about: "the Git server could not be reached" },
  SOURCE_TIMEOUT: { response: "retry", exit: 10, about: "the Git server answered too slowly" },
  SOURCE_AUTH: { response: "retry", exit: 11, about: "the Git server refused the credentials" },
  SOURCE_HTTP: { response: "retry", exit: 12, about: "the Git server answered with an unexpected HTTP status" },
  SOURCE_PROTOCOL: { response: "retry", exit: 13, about: "the answer is not well-formed Git protocol" },
  SOURCE_TOO_LARGE: { response: "retry", exit: 14, about: "an answer, pack, object or tree exceeds its limit" },
  SOURCE_REDIRECT: { response: "retry", exit: 15, about: "the Git server redirects; redirects are not followed" },
  SOURCE_NO_BRANCH: { response: "retry", exit: 16, about: "the server positively says that the branch does not exist" },
  SOURCE_UNSUPPORTED: { response: "hold", exit: 17, about: "the repository uses a format that is not supported" },
  SOURCE_FILE: { response: "hold", exit: 18, about: "a file in the commit is missing or is not a regular file" },
  SOURCE_COMMIT: {
    response: "hold",
    exit: 35,
    about: "the commit object is malformed: two readers could see two commits",
  },

  TRUST_UNSIGNED: { response: "hold", exit: 20, about: "the lock has fewer valid approvals than the threshold" },
  TRUST_LOCK_INVALID: { response: "hold", exit: 21, about: "the lock file is missing or malformed" },
  TRUST_LOCK_MISMATCH: { response: "hold", exit: 22, about: "a file differs from what the lock lists" },
  TRUST_WRONG_TARGET: { response: "hold", exit: 23, about: "the lock is for another repository, branch or group" },
  TRUST_ROLLBACK: {
    response: "hold",
    exit: 24,
    about: "the serial is lower than one already verified, or the head older",
  },
  TRUST_EQUIVOCATION: { response: "hold", exit: 25, about: "the same serial was verified with other content" },
  TRUST_APART: {
    response: "hold",
    exit: 34,
    about: "the head does not descend from the commit that was verified before, or remotes show different histories",
  },
  TRUST_ROOT_INVALID: { response: "stop", exit: 26, about: "the root of trust is malformed" },
  TRUST_ROOT_CHAIN: {
    response: "hold",
    exit: 27,
    about: "the next root of trust is missing, malformed or not approved by the one before it and by itself",
  },
  TRUST_COMMIT_UNSIGNED: {
    response: "hold",
    exit: 33,
    about: "trust.mode asks for a signed commit, and nobody who may has signed the head",
  },
  TRUST_SIGNING_FAILED: { response: "stop", exit: 28, about: "ssh-keygen could not sign" },
  TRUST_REVOKED: {
    response: "hold",
    exit: 29,
    about: "what is enforced has lost approvals to a revocation and has too few; `trust.whenRevoked` says what happens",
  },
  TRUST_STALE: {
    response: "retry",
    exit: 19,
    about: "nothing proves any more that what is enforced is the newest; `trust.whenExpired` says what happens",
  },

  POLICY_INVALID: { response: "hold", exit: 30, about: "the policy has errors" },
  POLICY_UNSUPPORTED: {
    response: "hold",
    exit: 31,
    about: "the policy uses a key of the format that is not enforced here",
  },
  POLICY_TEST_FAILED: { response: "hold", exit: 32, about: "one of the policy's own tests has another answer" },

  APPLY_CHECK_FAILED: {
    response: "hold",
    exit: 40,
    about: "nft, named-checkzone, named-checkconf or haproxy refused an artifact",
  },
  APPLY_NO_TIMER: {
    response: "retry",
    exit: 41,
    about: "the revert timer could not be started; nothing was changed",
  },
  APPLY_FAILED: { response: "roll-back", exit: 42, about: "a step of the swap failed" },
  APPLY_READBACK: { response: "roll-back", exit: 43, about: "what is enforced is not what the release says" },
  APPLY_BAD_RELEASE: {
    response: "hold",
    exit: 44,
    about: "this release was rolled back before; it is not tried again",
  },
  APPLY_REVERT_FAILED: {
    response: "retry",
    exit: 45,
    about: "the old release could not be restored: only the lifeline is open",
  },
  APPLY_RELEASE_DAMAGED: { response: "retry", exit: 46, about: "a release on disk does not match its digests" },
  APPLY_NOT_CONFIRMED: {
    response: "roll-back",
    exit: 47,
    about: "the change was not confirmed in time; the revert timer put the old release back",
  },
  APPLY_ROLLED_BACK: {
    response: "hold",
    exit: 48,
    about: "an operator went back to an earlier release; this one is not tried again",
  },

  HEALTH_FAILED: { response: "roll-back", exit: 50, about: "a probe that passed before the change fails after it" },

  GATE_UNREACHABLE: { response: "retry", exit: 60, about: "the DNS gate does not answer on its control socket" },
  GATE_REFUSED: { response: "roll-back", exit: 61, about: "the DNS gate refused a release" },

  PROPOSAL_REMOTE: {
    response: "hold",
    exit: 70,
    about: "the policy comes from a remote repository, and is changed there",
  },
  PROPOSAL_BUSY: { response: "retry", exit: 71, about: "too many changes are under way" },
  BREAK_GLASS: { response: "retry", exit: 72, about: "a policy is in force until its end that nobody approved" },

  HELD_SUSPENDED: { response: "wait", exit: 73, about: "an operator suspended updates; the enforced policy stays" },
  HELD_LOCKDOWN: {
    response: "wait",
    exit: 74,
    about: "an operator locked the gateway down: only the lifeline is open",
  },
  HELD_FIGHT: {
    response: "wait",
    exit: 75,
    about: "another program changes our tables or zones again and again: only the lifeline is open for a while",
  },
  HELD_WINDOW: {
    response: "wait",
    exit: 76,
    about: "the commit opens something, and updates.windows is closed: it comes into force when the next one opens",
  },

  HOST_COMMAND: { response: "retry", exit: 80, about: "a system command failed" },
  HOST_FILE: { response: "retry", exit: 81, about: "a file could not be read or written" },
  HOST_SERVICE: { response: "retry", exit: 82, about: "named, the gate or the proxy could not be started" },
  HOST_MISSING: { response: "stop", exit: 83, about: "a program, user or privilege that is needed is missing" },
} as const satisfies Record<string, CodeRow>;

export type Code = keyof typeof codes;

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** The only error class that the program throws on purpose: a code, a sentence, details for machines, and what to do next. */
export class AgentError extends Error {
  readonly code: Code;
  /** What a person does about it, in one sentence; null where the message says it all. */
  readonly remedy: string | null;
  readonly details: { readonly [key: string]: Json };

  constructor(
    code: Code,
    message: string,
    options: { remedy?: string; details?: { readonly [key: string]: Json }; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "AgentError";
    this.code = code;
    this.remedy = options.remedy ?? null;
    this.details = options.details ?? {};
  }
}

/** Returns the error itself when it is an AgentError, else one with the given code that carries it as its cause. */
export function toAgentError(error: unknown, code: Code, message: string): AgentError {
  if (error instanceof AgentError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new AgentError(code, `${message}: ${reason}`, { cause: error });
}

/**
 * Returns the error itself when it is an AgentError; else HOST_FILE for a file that could not be read or written, which is
 * the machine's trouble and tried again, and APPLY_FAILED for anything else.
 */
export function toStepError(error: unknown, message: string): AgentError {
  const { syscall, path } = error as NodeJS.ErrnoException;
  return toAgentError(error, syscall !== undefined && path !== undefined ? "HOST_FILE" : "APPLY_FAILED", message);
}
