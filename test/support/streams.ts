import { sleepMs } from "../../agent/host/clock.ts";
import type { LabClient, LabStream } from "../lab/client.ts";

/** Opens a stream of a client to a name or address. @throws Error with how it ended when it is not connected */
export async function openStream(client: LabClient, host: string, port: number, family: 4 | 6): Promise<LabStream> {
  const result = await client.stream(host, port, { family });
  if (result.outcome !== "connected") throw new Error(`${host}:${port} over IPv${family}: ${JSON.stringify(result)}`);
  return result.stream;
}

/** `goes on` with data coming in, `ended` within a second of this call, or `hangs`: neither. */
export async function fateOf(stream: LabStream): Promise<"goes on" | "ended" | "hangs"> {
  const { bytes } = await stream.state();
  await sleepMs(1_000);
  const now = await stream.state();
  if (now.state === "open") return now.bytes > bytes ? "goes on" : "hangs";
  return "ended";
}
