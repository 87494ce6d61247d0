import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { refuseRecord } from "../support/deny-records.ts";
import type { Stage } from "./scene.ts";

/** A line of any plane. */
type AnyRecord = { readonly [key: string]: unknown };

/** Whether a record says all that is wanted. */
export function matches(record: AnyRecord, wanted: AnyRecord): boolean {
  return Object.entries(wanted).every(([key, value]) => record[key] === value);
}

/** Returns all records of a gateway, of all planes. @throws Error when one is not as its schema says */
export async function readAllRecords({ gateway }: Stage): Promise<readonly AnyRecord[]> {
  if (gateway === null) return [];
  const run = join(gateway.folder, "run");
  const files = ["gate/deny.jsonl.1", "gate/deny.jsonl", "proxy.jsonl"].map((name) => join(run, name));
  const texts = await Promise.all(files.map((file) => readFile(file, "utf8").catch(() => "")));
  return texts.flatMap((text) =>
    text.split("\n").flatMap((line) => {
      if (!line.endsWith("}")) return [];
      const record = JSON.parse(line) as AnyRecord;
      const refusal = refuseRecord(record);
      if (refusal !== null) throw new Error(refusal);
      return [record];
    }),
  );
}
