import { Command, Option } from "commander";
import { addFaceVerbs } from "./face-verbs.ts";
import { DEFAULT_CONFIG, type MakeVerb, type Verb } from "./verb.ts";

/**
 * Returns the program's verbs. Each verb's code is imported when it is used, so that `status` does not pay for Git and the
 * gate does not pay for either.
 */
export function buildProgram(choose: (verb: Verb) => void): Command {
  const program = new Command("clawgress")
    .description("Makes the signed policy of a Git repository true on this egress gateway.")
    .version("0.1.0")
    .addOption(new Option("--json", "print one JSON document instead of text"))
    .showHelpAfterError("(see `clawgress --help`)")
    .exitOverride();
  const config = ["--config <file>", "this gateway's configuration", DEFAULT_CONFIG] as const;
  const example = (command: Command, text: string): Command =>
    command.addHelpText(
      "after",
      `\nExample:\n  ${text}\n\nExit status: 0 done; else the code's status, see agent/README.md.`,
    );
  const verb: MakeVerb = (name, about, sample) =>
    example(program.command(name).description(about).exitOverride(), sample);

  verb("run", "poll, verify, apply and report until told to stop", "clawgress run --config /etc/clawgress/agent.json")
    .option(...config)
    .action((options) => choose(async (output) => (await import("./commands/run.ts")).runAgent(options, output)));
  verb("sync", "do one cycle now: poll, verify, apply, report", "clawgress sync")
    .option(...config)
    .action((options) => choose(async (output) => (await import("./commands/sync.ts")).syncOnce(options, output)));
  verb("boot", "put in force what was confirmed last, before the network is up", "clawgress boot")
    .option(...config)
    .action((options) => choose(async (output) => (await import("./commands/boot.ts")).bootGateway(options, output)));
  verb("gate", "run the DNS gate (started by the agent)", "clawgress gate")
    .option(...config)
    .action((options) =>
      choose(async (output) => (await import("./commands/gate.ts")).runGateCommand(options, output)),
    );
  verb("compile", "policy → zones, named.conf, ruleset; needs no root", "clawgress compile policy.json --out build")
    .argument("<policy>", "the policy file")
    .requiredOption("--out <folder>", "where the artifacts go")
    .option("--config <file>", "compile for this gateway's configuration instead of the defaults")
    .action((policy, options) =>
      choose(async (output) => (await import("./commands/compile.ts")).compileToFolder({ policy, ...options }, output)),
    );
  verb("check", "what a pull request runs: policy, lock, serial, approvals", "clawgress check .")
    .argument("[folder]", "a checkout of the policy repository", ".")
    .option("--approved", "fail when approvals are missing")
    .action((folder, options) =>
      choose(async (output) => (await import("./commands/check.ts")).checkRepository({ folder, ...options }, output)),
    );
  verb(
    "explain",
    "may a client reach a target, by which rule, and if not, why",
    "clawgress explain 10.0.0.5 api.x.com:443",
  )
    .argument("<from>", "a client address, the name of a host entry, or * for a client in none")
    .argument("<to>", "name or address, :port, and /udp where meant")
    .option("--policy <file>", "judge by this policy file instead of the one in force")
    .option("--at <time>", "judge as of this time, such as 2026-12-31T18:00:00Z; default: now")
    .option(...config)
    .action((from, to, options) =>
      choose(async (output) => (await import("./commands/explain.ts")).explain({ from, to, ...options }, output)),
    );
  addOperatorVerbs(verb, choose);
  addTrustVerbs(verb, choose);
  addFaceVerbs(verb, example, choose, () => buildProgram(() => {}));
  return program;
}

function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

function addOperatorVerbs(verb: MakeVerb, choose: (verb: Verb) => void): void {
  const config = ["--config <file>", "this gateway's configuration", DEFAULT_CONFIG] as const;
  const by = ["--by <name>", "who you are; default: your login"] as const;
  verb("suspend", "keep what is enforced, whatever is merged", 'clawgress suspend --reason "audit until noon"')
    .requiredOption("--reason <text>", "why, for whoever finds it so")
    .option(...by)
    .option(...config)
    .action((options) => choose(async (output) => (await import("./commands/hold.ts")).suspend(options, output)));
  verb("resume", "end suspend, and follow the branch again", "clawgress resume")
    .option("--retry", "let releases be tried once more that were rolled back")
    .option(...config)
    .action((options) => choose(async (output) => (await import("./commands/hold.ts")).resume(options, output)));
  verb("rollback", "go back to a release that was confirmed before", 'clawgress rollback 41 --reason "builds fail"')
    .argument("[serial]", "default: the one before the present one")
    .requiredOption("--reason <text>", "why, for the commit's status and the history")
    .option(...by)
    .option(...config)
    .action((serial, options) =>
      choose(async (output) =>
        (await import("./commands/rollback.ts")).rollback(
          { ...options, ...(serial === undefined ? {} : { serial: Number(serial) }) },
          output,
        ),
      ),
    );
  verb("lockdown", "close everything but the lifeline, at once", 'clawgress lockdown --reason "agent-3 is compromised"')
    .option("--reason <text>", "why, for whoever finds it so", "no reason given")
    .option("--end", "put in force again what was confirmed")
    .option(...by)
    .option(...config)
    .action((options) =>
      choose(async (output) => {
        const { endLockdown, lockDown } = await import("./commands/lockdown.ts");
        return options.end === true ? await endLockdown(options, output) : await lockDown(options, output);
      }),
    );
  verb("cleanup", "remove enforcement from this machine; asks first", "clawgress cleanup --yes")
    .option("--yes", "do not ask")
    .option(...config)
    .action((options) => choose(async (output) => (await import("./commands/cleanup.ts")).cleanUp(options, output)));
}

function addTrustVerbs(verb: MakeVerb, choose: (verb: Verb) => void): void {
  verb("sign", "write the lock and add your approval", "clawgress sign --repository-folder .")
    .option("--repository-folder <folder>", "a clone of the policy repository", ".")
    .option("--key <path>", "private key, or public key of one held by ssh-agent; default: the one the root knows")
    .option("--principal <name>", "who you are in the root of trust; default: the key's owner")
    .option("--serial <number>", "default: the last serial on the branch + 1", Number)
    .option("--file <path>", "list this file in the lock too", collect)
    .option("--rebase", "first bring the branch up to date with the one that gateways follow")
    .option("--accept-removal", "most of what is allowed is meant to go")
    .option("--root-of-trust", "approve the newest trust/N.json instead of the policy")
    .option("--recovery <file>", "approve that a gateway which lost its state goes on, by its recover.json")
    .option("--fresh <hours>", "vouch that the lock is the newest, for so long, instead of approving it", Number)
    .action((options) => choose(async (output) => (await import("./commands/sign.ts")).sign(options, output)));
  verb("verify", "who approved what, and what is missing", "clawgress verify --commit HEAD")
    .option("--repository-folder <folder>", "a clone of the policy repository", ".")
    .option("--root <file>", "root of trust; default: the newest in trust/")
    .option("--commit <revision>", "judge this commit instead of the working tree")
    .action((options) => choose(async (output) => (await import("./commands/verify.ts")).verify(options, output)));
  verb("recover", "give a gateway with damaged or lost state a sound one, by the right approvals", "clawgress recover")
    .option("--config <file>", "this gateway's configuration", DEFAULT_CONFIG)
    .option("--above <serial>", "take locks with a serial above this; default: by what is left on the disk", Number)
    .option("--part-above <rule=serial>", "the same for the lock of a rule", collect)
    .action((options) => choose(async (output) => (await import("./commands/recover.ts")).recover(options, output)));
  verb(
    "rotate",
    "write the next root of trust: who may approve from now on",
    "clawgress rotate --principal dave=dave.pub --remove bob --revoke bob.pub",
  )
    .option("--repository-folder <folder>", "a clone of the policy repository", ".")
    .option("--principal <name=key.pub>", "a new signer, or another key of one", collect)
    .option("--remove <name>", "a signer who leaves", collect)
    .option("--revoke <key>", "a .pub file or fingerprint that counts nowhere any more", collect)
    .option("--threshold <number>", "how many must approve", Number)
    .option("--tighten <number>", "how many must approve what lets nothing more through", Number)
    .option("--freshness <name>", "who vouches that a state is the newest", collect)
    .option("--void-serials <number>", "serials from this one on count nowhere", Number)
    .option("--restart-serial <number>", "the serial that gateways go back to from a void one", Number)
    .action((options) => choose(async (output) => (await import("./commands/rotate.ts")).rotate(options, output)));
  verb(
    "init",
    "start a policy repository, or a gateway's state",
    "clawgress init --gateway --config /etc/clawgress/agent.json",
  )
    .option("--repository-folder <folder>", "make trust/1.json, policy.json and the lock here")
    .option("--name <name>", "opaque name of the repository")
    .option("--principal <name=key.pub>", "a signer and their public key", collect)
    .option("--threshold <number>", "how many of them must approve", Number)
    .option("--group <name>", "gateway group", "default")
    .option("--branch <name>", "branch that gateways follow", "main")
    .option("--gateway", "make the state folder of the gateway that --config describes")
    .option("--config <file>", "this gateway's configuration", DEFAULT_CONFIG)
    .action((options) => choose(async (output) => (await import("./commands/init.ts")).init(options, output)));
}
