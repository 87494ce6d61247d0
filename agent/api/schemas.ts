import apiSchema from "../../policy-schema/api.schema.json" with { type: "json" };
import statusSchema from "../../policy-schema/status.schema.json" with { type: "json" };
import telemetrySchema from "../../policy-schema/telemetry.schema.json" with { type: "json" };

type JsonSchema = { readonly [keyword: string]: unknown };

/** The published schemas as the routes use them: each in one piece, so that the OpenAPI description is, too. */
export const schemas = {
  policyCall: part("policyCall"),
  keyCall: part("keyCall"),
  telemetryCall: part("telemetryCall"),
  decisionsQuery: part("decisionsQuery"),
  policyAnswer: part("policyAnswer"),
  verdictAnswer: part("verdictAnswer"),
  healthAnswer: part("healthAnswer"),
  enforcedAnswer: part("enforcedAnswer"),
  pollAnswer: part("pollAnswer"),
  webhookAnswer: part("webhookAnswer"),
  status: whole(statusSchema),
  telemetry: whole(telemetrySchema),
} as const;

function part(name: keyof typeof apiSchema.$defs): JsonSchema {
  return inline(apiSchema.$defs[name], apiSchema.$defs) as JsonSchema;
}

function whole({
  $defs,
  $schema: _schema,
  $id: _id,
  ...schema
}: JsonSchema & { readonly $defs: JsonSchema }): JsonSchema {
  return inline(schema, $defs) as JsonSchema;
}

/** Puts what a reference within the file names in its place. The schemas refer to nothing that refers back. */
function inline(value: unknown, defs: JsonSchema): unknown {
  if (Array.isArray(value)) return value.map((item) => inline(item, defs));
  if (typeof value !== "object" || value === null) return value;
  const { $ref, ...rest } = value as { readonly $ref?: unknown; readonly [keyword: string]: unknown };
  const target = typeof $ref === "string" ? (defs[$ref.replace("#/$defs/", "")] as object) : {};
  return Object.fromEntries(Object.entries({ ...target, ...rest }).map(([key, item]) => [key, inline(item, defs)]));
}

/** Returns the schema of an answer: the envelope around what it carries. */
export function envelopeOf(data: JsonSchema): JsonSchema {
  return {
    type: "object",
    additionalProperties: false,
    required: ["success", "data", "error"],
    properties: { success: { const: true }, data, error: { type: "null" } },
  };
}

export const errorEnvelope: JsonSchema = part("error");
