import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { sleepMs } from "../../agent/host/clock.ts";
import type { TestGateway } from "./gateway.ts";

/** A decision of the proxy as the agent writes it down. */
export interface ProxyRecord {
  readonly plane: "tls" | "http";
  readonly verdict: "allow" | "deny";
  readonly reason: string;
  readonly client: string;
  readonly group: string | null;
  readonly name: string | null;
  readonly address: string | null;
  readonly commit: string | null;
  readonly serial: number | null;
}

const schema: unknown = JSON.parse(
  readFileSync(new URL("../../policy-schema/proxy-record.schema.json", import.meta.url), "utf8"),
);
const ajv = new Ajv2020({ strict: true, allowUnionTypes: true, strictRequired: false, strictTypes: false });
const validate = ajv.compile<ProxyRecord>(schema as object);

/** Returns a line as the record that the published schema says it is. @throws Error when it is none. */
export function parseProxyRecord(line: string): ProxyRecord {
  const value: unknown = JSON.parse(line);
  if (!validate(value)) throw new Error(`${ajv.errorsText(validate.errors)}: ${line}`);
  return value;
}

/** The reasons that the published schema knows. */
export const proxyRecordReasons = (
  schema as { readonly properties: { readonly reason: { readonly enum: readonly string[] } } }
).properties.reason.enum;

/** The records of a gateway's proxy from a moment on. */
export interface RecordReader {
  readonly mark: () => Promise<void>;
  /** Resolves with the first record since the mark that has these values; fails after 3 s with what was there. */
  readonly find: (wanted: Partial<ProxyRecord>) => Promise<ProxyRecord>;
}

/** Returns a reader of `proxy.jsonl`. */
export function readProxyRecords(gateway: TestGateway): RecordReader {
  let skipped = 0;
  const all = async (): Promise<readonly ProxyRecord[]> => {
    const text = await readFile(join(gateway.folder, "run", "proxy.jsonl"), "utf8").catch(() => "");
    return text.split("\n").flatMap((line) => (line === "" ? [] : [parseProxyRecord(line)]));
  };
  return {
    mark: async () => {
      skipped = (await all()).length;
    },
    find: async (wanted) => {
      const keys = Object.keys(wanted) as (keyof ProxyRecord)[];
      for (let attempt = 0; attempt < 60; attempt++) {
        const found = (await all()).slice(skipped).find((record) => keys.every((key) => record[key] === wanted[key]));
        if (found !== undefined) return found;
        await sleepMs(50);
      }
      const seen = (await all()).slice(skipped).map(({ reason, client, name }) => `${reason} ${client} ${name}`);
      throw new Error(`no record with ${JSON.stringify(wanted)}; there were: ${seen.join(", ")}`);
    },
  };
}
