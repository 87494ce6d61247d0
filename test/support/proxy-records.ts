import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { DenyRecord } from "../../agent/gate/deny-record.ts";
import { refuseRecord } from "./deny-records.ts";
import { awaitFound } from "./eventually.ts";
import type { TestGateway } from "./gateway.ts";

/** A decision of the proxy as the agent writes it down. */
export type ProxyRecord = Omit<DenyRecord, "verdict" | "reason"> & {
  readonly verdict: "allow" | "deny";
  readonly reason: string;
};

/** Returns a line as the record that the published schema says it is. @throws Error when it is none. */
function parseProxyRecord(line: string): ProxyRecord {
  const value: unknown = JSON.parse(line);
  const refusal = refuseRecord(value);
  if (refusal !== null) throw new Error(refusal);
  return value as ProxyRecord;
}

/** The records of a gateway's proxy from a moment on. */
export interface RecordReader {
  readonly mark: () => Promise<void>;
  /** Resolves with all records since the mark. */
  readonly all: () => Promise<readonly ProxyRecord[]>;
  /** Resolves with the first record since the mark that has these values; fails after 10 s with what was there. */
  readonly find: (wanted: Partial<ProxyRecord>) => Promise<ProxyRecord>;
}

/** Returns a reader of `proxy.jsonl`. */
export function readProxyRecords(gateway: TestGateway): RecordReader {
  let skipped = 0;
  const all = async (): Promise<readonly ProxyRecord[]> => {
    const text = await readFile(join(gateway.folder, "run", "proxy.jsonl"), "utf8").catch(() => "");
    // What follows the last line feed is being written.
    return text.split("\n").slice(0, -1).map(parseProxyRecord);
  };
  return {
    mark: async () => {
      skipped = (await all()).length;
    },
    all: async () => (await all()).slice(skipped),
    find: async (wanted) => {
      const keys = Object.keys(wanted) as (keyof ProxyRecord)[];
      const found = await awaitFound(async () =>
        (await all()).slice(skipped).find((record) => keys.every((key) => record[key] === wanted[key])),
      );
      if (found !== undefined) return found;
      const seen = (await all()).slice(skipped).map(({ reason, client, name }) => `${reason} ${client} ${name}`);
      throw new Error(`no record with ${JSON.stringify(wanted)}; there were: ${seen.join(", ")}`);
    },
  };
}
