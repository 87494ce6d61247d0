import type { Scope } from "./haproxy-lookups.ts";
import { ABOUT_MAP } from "./proxy-maps.ts";

/** One JSON object a line; `-` means nothing. Text of clients is escaped (`json`) before it gets here. */
export function recordFormat(plane: "tls" | "http", scope: Scope): string {
  const variable = (name: string): string => `"%[var(${scope}.${name})]"`;
  const fields: readonly (readonly [key: string, value: string])[] = [
    ["id", '"%[uuid]"'],
    ["at", "%[date(0,ms)]"],
    ["plane", `"${plane}"`],
    ["reason", variable("reason")],
    ["client", '"%ci"'],
    ["clientPort", "%cp"],
    ["group", variable("group")],
    ["name", variable("shown")],
    ["address", variable("address")],
    ...(plane === "http" ? ([["status", "%ST"]] as const) : []),
    ["bytesUp", "%U"],
    ["bytesDown", "%B"],
    ["connectMs", "%Tc"],
    ["ms", "%Tt"],
    ["end", '"%ts"'],
    ...(plane === "tls" ? ([["ech", variable("ech")]] as const) : []),
    ["commit", `"${about("commit")}"`],
    ["serial", `"${about("serial")}"`],
  ];
  return `{${fields.map(([key, value]) => `"${key}":${value}`).join(",")}}`;
}

function about(key: "commit" | "serial"): string {
  return `%[str(${key}),map_str(${ABOUT_MAP})]`;
}

export function answerFormat(error: string, how: string): string {
  const policy = `commit ${about("commit")}, serial ${about("serial")}`;
  return `{"error":"${error}","reason":"%[var(txn.reason)]","name":"%[var(txn.shown)]","policy":"${policy}","how":"${how}"}`;
}
