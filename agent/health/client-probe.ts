import { type ProbeTask, runProbe } from "./probe.ts";

/**
 * The program that runs inside the probe namespace: tasks as JSON on standard input, results as JSON on standard output.
 * It is a program of its own so that it starts in the time of a bare Node, and sees the network as a client does.
 */
const chunks: Buffer[] = [];
for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
const tasks = JSON.parse(Buffer.concat(chunks).toString("utf8")) as readonly ProbeTask[];
const results = await Promise.all(tasks.map(runProbe));
process.stdout.write(JSON.stringify(results));
// A resolver or socket that is still open must not keep the answer waiting.
process.exit(0);
