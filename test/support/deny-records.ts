import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import type { DenyRecord } from "../../agent/gate/deny-record.ts";
import { packageRoot } from "../lab/processes.ts";
import { awaitFound } from "./eventually.ts";

const schema = JSON.parse(readFileSync(join(packageRoot(), "policy-schema", "deny-record.schema.json"), "utf8")) as {
  readonly properties: { readonly reason: { readonly enum: readonly string[] } };
};
const ajv = new Ajv2020({ strict: true, allowUnionTypes: true, strictRequired: false, strictTypes: false });
const validate = ajv.compile(schema);

export const recordReasons = schema.properties.reason.enum;

/** Returns why a value is no deny record by the published schema, or null. */
export function refuseRecord(value: unknown): string | null {
  return validate(value) ? null : `${ajv.errorsText(validate.errors)}: ${JSON.stringify(value)}`;
}

/** Returns the records that a gateway holds, the oldest first; each must be one by the schema. */
export async function readRecords(runFolder: string): Promise<readonly DenyRecord[]> {
  const files = ["deny.jsonl.1", "deny.jsonl"].map((name) => join(runFolder, "gate", name));
  const texts = await Promise.all(files.map((file) => readFile(file, "utf8").catch(() => "")));
  return texts.flatMap((text) =>
    text.split("\n").flatMap((line) => {
      if (line === "") return [];
      const record = JSON.parse(line) as DenyRecord;
      const refusal = refuseRecord(record);
      if (refusal !== null) throw new Error(refusal);
      return [record];
    }),
  );
}

/**
 * Resolves with the records that fulfil a condition, once there is one: a closing line comes two looks at the kernel's
 * counters later, and one line a second.
 */
export async function awaitRecords(
  runFolder: string,
  isWanted: (record: DenyRecord) => boolean,
): Promise<readonly DenyRecord[]> {
  const found = await awaitFound(async () => {
    const records = (await readRecords(runFolder)).filter(isWanted);
    return records.length > 0 ? records : undefined;
  });
  if (found !== undefined) return found;
  const last = (await readRecords(runFolder)).slice(-5).map((record) => JSON.stringify(record));
  throw new Error(`no such record; the last are:\n${last.join("\n")}`);
}
