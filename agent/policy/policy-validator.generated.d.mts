import type { SchemaError } from "./schema-issues.ts";

/** Returns whether a value has the shape of policy.schema.json; its errors are those of the last call. */
export const validate: {
  (value: unknown): boolean;
  readonly errors?: readonly SchemaError[] | null;
};
