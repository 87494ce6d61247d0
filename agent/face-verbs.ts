import { type Command, Option } from "commander";
import { telemetryViews, telemetryWindows } from "./decisions/telemetry.ts";
import { DEFAULT_CONFIG, type MakeVerb, type Verb } from "./verb.ts";

type Choose = (verb: Verb) => void;
type AddExample = (command: Command, sample: string) => Command;

const config = ["--config <file>", "this gateway's configuration", DEFAULT_CONFIG] as const;

/** Adds the verbs by which people look at a gateway and change it where it stands. */
export function addFaceVerbs(verb: MakeVerb, example: AddExample, choose: Choose, rebuild: () => Command): void {
  addViewVerbs(verb, choose);
  addPolicyVerbs(verb("policy", "show, change and apply the policy", "clawgress policy show"), example, choose);
  addTelemetryVerbs(verb, choose);
  addKeyVerbs(verb("key", "the keys of the HTTP API", "clawgress key add ci --scope propose"), example, choose);
  addHelpVerbs(verb, choose, rebuild);
}

function addViewVerbs(verb: MakeVerb, choose: Choose): void {
  verb("status", "what is enforced, since when, by whose approval, and what is wrong", "clawgress status --json")
    .option(...config)
    .action((options) => choose(async (output) => (await import("./commands/status.ts")).showStatus(options, output)));
  verb("stats", "how much was denied, when, why, to whom and towards what", "clawgress stats --window 1h")
    .addOption(windowOption("24h"))
    .option(...config)
    .action((options) => choose(async (output) => (await import("./commands/stats.ts")).showStats(options, output)));
  verb("firewall", "the rules that are in force, as the kernel has them", "clawgress firewall")
    .option("--elements", "the elements of maps and sets, too")
    .option(...config)
    .action((options) =>
      choose(async (output) => (await import("./commands/firewall.ts")).showFirewall(options, output)),
    );
  verb("rpz", "the zones that named enforces, and whether it proves that", "clawgress rpz")
    .option(...config)
    .action((options) => choose(async (output) => (await import("./commands/rpz.ts")).showZones(options, output)));
  verb("api", "serve the HTTP API, the metrics and the telemetry (started by the agent)", "clawgress api")
    .option(...config)
    .action((options) => choose(async (output) => (await import("./commands/api.ts")).runApiCommand(options, output)));
}

function windowOption(byDefault: keyof typeof telemetryWindows): Option {
  return new Option("--window <time>", "how far back").choices(Object.keys(telemetryWindows)).default(byDefault);
}

function addPolicyVerbs(policy: Command, example: AddExample, choose: Choose): void {
  const sub = (parent: Command, name: string, about: string, sample: string): Command =>
    example(parent.command(name).description(about).exitOverride(), sample);
  const fileVerb = (parent: Command, about: string, sample: string): Command =>
    sub(parent, "file", about, sample).argument("<path>", "the policy file");
  const load = () => import("./commands/policy.ts");

  const show = sub(policy, "show", "what is enforced, with every default filled in", "clawgress policy show --json")
    .option(...config)
    .action((options) => choose(async (output) => (await load()).showPolicy(options, output)));
  fileVerb(show, "what a file means", "clawgress policy show file policy.json")
    .option(...config)
    .action((path, options) => choose(async (output) => (await load()).showPolicy({ path, ...options }, output)));

  const bring = sub(policy, "import", "make a policy true", "clawgress policy import file /tmp/my-policy.json");
  fileVerb(
    bring,
    "commit a file to the gateway's own repository and make it true",
    "clawgress policy import file /tmp/my-policy.json --reason 'the new API'",
  )
    .option("--reason <text>", "why; stands in the commit")
    .option("--dry-run", "judge only: what would change, and the verdict of all checks")
    .option("--break-glass", "put it in force though the policy comes from a repository elsewhere, until an end")
    .option("--for <time>", "with --break-glass: until when, such as 30m")
    .option(...config)
    .action((path, options) => choose(async (output) => (await load()).importPolicy({ path, ...options }, output)));

  const apply = sub(policy, "apply", "look at the repository now, and make it true", "clawgress policy apply")
    .option(...config)
    .action((options) => choose(async (output) => (await load()).applyPolicy(options, output)));
  fileVerb(apply, "the same as policy import file", "clawgress policy apply file /tmp/my-policy.json")
    .option(...config)
    .action((path, options) => choose(async (output) => (await load()).applyPolicy({ path, ...options }, output)));

  sub(policy, "end-break-glass", "end a broken glass now", "clawgress policy end-break-glass")
    .option(...config)
    .action((options) => choose(async (output) => (await load()).endBreakGlass(options, output)));
}

function addTelemetryVerbs(verb: MakeVerb, choose: Choose): void {
  verb("telemetry", "what was decided in a window of time", "clawgress telemetry agent agent-1 --window 5m")
    .argument("[view]", `one of ${telemetryViews.join(", ")}`, "agents")
    .argument("[target]", "the agent or domain, of the views that are about one")
    .addOption(windowOption("1h"))
    .option("--redact", "leave out what must not leave the team: client addresses, names that were refused")
    .option(...config)
    .action((view, target, options) =>
      choose(async (output) => {
        const about = target === undefined ? { view } : { view, target };
        return (await import("./commands/telemetry.ts")).showTelemetry({ ...about, ...options }, output);
      }),
    );
  verb("watch", "decisions as they are made", "clawgress watch --verdict deny --agent agent-1")
    .option("--agent <name>", "of this host entry or address")
    .option("--name <name>", "about this name or one below it")
    .option("--reason <reason>", "for this reason")
    .option("--label <label>", "with this label")
    .addOption(new Option("--verdict <verdict>", "with this verdict").choices(["allow", "deny", "would-deny"]))
    .addOption(new Option("--plane <plane>", "made there").choices(["dns", "ip", "tls", "http"]))
    .option("--count <number>", "end after so many", Number)
    .option(...config)
    .action((options) =>
      choose(async (output) => (await import("./commands/watch.ts")).watchDecisions(options, output)),
    );
}

function addKeyVerbs(key: Command, example: AddExample, choose: Choose): void {
  const sub = (name: string, about: string, sample: string): Command =>
    example(key.command(name).description(about).exitOverride(), sample);
  const load = () => import("./commands/key.ts");
  sub("add", "make a key, and show it this once", "clawgress key add ci --scope propose")
    .argument("<name>", "whose it is; stands in the log and in commits")
    .addOption(
      new Option("--scope <scope>", "what it may do; each includes those before it")
        .choices(["read", "propose", "operate"])
        .default("read"),
    )
    .option(...config)
    .action((name, options) => choose(async (output) => (await load()).addKey({ name, ...options }, output)));
  sub("list", "who has a key, and for what", "clawgress key list")
    .option(...config)
    .action((options) => choose(async (output) => (await load()).listKeys(options, output)));
  sub("remove", "refuse a key from now on", "clawgress key remove ci")
    .argument("<name>", "whose it is")
    .option(...config)
    .action((name, options) => choose(async (output) => (await load()).removeKey({ name, ...options }, output)));
}

function addHelpVerbs(verb: MakeVerb, choose: Choose, rebuild: () => Command): void {
  verb("completions", "completions for a shell", "clawgress completions bash > /etc/bash_completion.d/clawgress")
    .argument("<shell>", "bash, zsh or fish")
    .action((shell) =>
      choose(async (output) => (await import("./commands/completions.ts")).showCompletions(shell, rebuild(), output)),
    );
  verb("manual", "the manual page, for man", "clawgress manual > /usr/share/man/man8/clawgress.8").action(() =>
    choose(async (output) => (await import("./commands/manual.ts")).showManual(rebuild(), output)),
  );
}
