import { listTables } from "../apply/kernel.ts";
import type { Json } from "../errors.ts";
import { loadSettings } from "./load-settings.ts";
import type { Output } from "./output.ts";

/** Shows both tables as the kernel has them. Returns 0. @throws AgentError HOST_COMMAND when they do not stand, or without root */
export async function showFirewall(
  options: { readonly config: string; readonly elements?: boolean },
  output: Output,
): Promise<number> {
  await loadSettings(options.config);
  const { texts, documents } = await listTables(options.elements === true, output.json);
  for (const text of texts) output.line(text);
  output.document({ tables: documents as Json });
  return 0;
}
