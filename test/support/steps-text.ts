import { KERNEL_SETS, KERNEL_TABLE, type KernelElement, type KernelStep } from "../../agent/gate/kernel-change.ts";

/** Returns steps as commands of `nft`: what the gate says over netlink, in the words that people read. */
export function stepsText(steps: readonly KernelStep[]): string {
  let text = "";
  for (const step of steps) {
    for (const set of KERNEL_SETS) {
      const elements = step.elements.filter((element) => element.set === set);
      if (elements.length === 0) continue;
      text += `${step.verb} element inet ${KERNEL_TABLE} ${set} { ${elements.map(elementText).join(", ")} }\n`;
    }
  }
  return text;
}

function elementText({ key, timeoutS, data }: KernelElement): string {
  const timeout = timeoutS === null ? "" : ` timeout ${timeoutS}s`;
  return `${key.join(" . ")}${timeout}${data === null ? "" : ` : ${data}`}`;
}
