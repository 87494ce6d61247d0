import { groupMarkOf, type PinOwner } from "./pin-owner.ts";

/** The table that holds the maps; the apply makes it, the gate only writes elements. */
export const KERNEL_TABLE = "clawgress";

/** The maps and the set that the gate writes, in the order of its transactions. */
export const KERNEL_SETS = ["pin4", "pin6", "group_pin4", "group_pin6", "live", "name_hours", "exfil_of"] as const;

/**
 * One change of the kernel's maps. `before` is the grant that the element may carry now (the gate is its only writer):
 * a map refuses to add a key that is there with another value, so the old one is named when it is replaced.
 */
export type KernelChange =
  | {
      readonly kind: "pin";
      readonly family: 4 | 6;
      readonly owner: PinOwner;
      readonly address: string;
      readonly portClass: number;
      readonly before: number;
      readonly grant: number;
      readonly timeoutS: number;
    }
  | {
      readonly kind: "unpin";
      readonly family: 4 | 6;
      readonly owner: PinOwner;
      readonly address: string;
      readonly portClass: number;
      readonly before: number;
    }
  | {
      readonly kind: "live" | "unlive";
      readonly group: number;
      readonly grant: number;
      /** The schedule that the pair keeps to; missing: none. */
      readonly hours?: number;
    }
  /** Which byte cap a grant counts for. */
  | {
      readonly kind: "cap";
      readonly group: number;
      readonly grant: number;
      readonly before: number;
      readonly mark: number;
    }
  | { readonly kind: "uncap"; readonly group: number; readonly grant: number; readonly before: number };

/** One element of one map or set, ready to be written. */
export interface KernelElement {
  readonly set: (typeof KERNEL_SETS)[number];
  /** Addresses in canonical text, marks as numbers: the parts of the concatenated key. */
  readonly key: readonly (string | number)[];
  readonly data: number | null;
  readonly timeoutS: number | null;
}

export interface KernelStep {
  readonly verb: "add" | "delete";
  readonly elements: readonly KernelElement[];
}

/**
 * Returns the steps of one transaction that make the changes true, whatever is in the kernel now: add the element as it
 * may be (nothing happens if it is there), delete it (it is there now), add it anew with its timeout. A plain add
 * does not prolong a timeout before kernel 6.12, and deleting what is missing fails. Each key may appear once.
 */
export function planSteps(changes: readonly KernelChange[]): readonly KernelStep[] {
  const parts = changes.map(elementsOf);
  const present = parts.flatMap((part) => part.present ?? []);
  const wanted = parts.flatMap((part) => part.wanted ?? []);
  const steps: KernelStep[] = [];
  if (present.length > 0) steps.push({ verb: "add", elements: present }, { verb: "delete", elements: present });
  if (wanted.length > 0) steps.push({ verb: "add", elements: wanted });
  return steps;
}

/** What may be there now, and what must be. */
interface Elements {
  readonly present?: KernelElement;
  readonly wanted?: KernelElement;
}

function elementsOf(change: KernelChange): Elements {
  switch (change.kind) {
    case "pin":
    case "unpin": {
      const groupMark = groupMarkOf(change.owner);
      const set = groupMark === null ? (`pin${change.family}` as const) : (`group_pin${change.family}` as const);
      const key = [groupMark ?? change.owner, change.address, change.portClass];
      const present = { set, key, data: change.before, timeoutS: null };
      if (change.kind === "unpin") return { present };
      return { present, wanted: { set, key, data: change.grant, timeoutS: change.timeoutS } };
    }
    case "cap":
    case "uncap": {
      const element = { set: "exfil_of", key: [change.group, change.grant], timeoutS: null } as const;
      const present = { ...element, data: change.before };
      return change.kind === "uncap" ? { present } : { present, wanted: { ...element, data: change.mark } };
    }
    default: {
      const element = liveElement(change);
      return change.kind === "live" ? { wanted: element } : { present: element };
    }
  }
}

function liveElement(change: Extract<KernelChange, { kind: "live" | "unlive" }>): KernelElement {
  const { group, grant, hours } = change;
  return { set: hours === undefined ? "live" : "name_hours", key: [group, grant], data: hours ?? null, timeoutS: null };
}

/** Returns a number of 1 to 2³²−1 as it is. @throws RangeError */
export function checkedMark(value: number): number {
  if (!Number.isInteger(value) || value < 1 || value > 0xffff_ffff) throw new RangeError(`not a mark: ${value}`);
  return value;
}
