import type { TransientUnit } from "../../agent/host/systemd.ts";

/** Properties that belong to a unit of any kind (systemd.unit(5)); all others of ours are a service's. */
const ofUnits = ["Description", "DefaultDependencies", "Conflicts", "Before", "StartLimitIntervalSec"];

/** Returns a transient unit as the file that it would be, so that it can be measured and read. */
export function renderUnit({ properties }: TransientUnit, program: readonly string[], about: string): string {
  const isOfUnits = (property: string): boolean => ofUnits.includes(property.slice(0, property.indexOf("=")));
  const unit = properties.filter(isOfUnits);
  const service = properties.filter((property) => !isOfUnits(property));
  const head = [
    `# ${about}`,
    "# Not installed: the agent asks systemd for it as a transient unit (agent/apply/daemons.ts).",
  ];
  return [...head, "[Unit]", ...unit, "", "[Service]", ...service, `ExecStart=${program.join(" ")}`, ""].join("\n");
}
