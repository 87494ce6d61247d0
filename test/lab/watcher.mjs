// Makes a lab's folder and prints "ready"; from then on nothing can be left behind. Waits until its standard input closes (the owner said so, or died in whatever way), then removes every
// process, namespace and file of the lab. Runs in a session of its own. Arguments: id, folder.
import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { readdir, readFile, rm, rmdir } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";

const run = promisify(execFile);
const [id, folder] = process.argv.slice(2);
if (!/^[0-9a-f]{6}$/.test(id ?? "") || !folder?.includes(`clawgress-lab-${id}-`)) {
  console.error("usage: watcher.mjs ID FOLDER, with the owner's pipe as standard input");
  process.exit(2);
}
const prefix = `cg${id}-`;
const tag = `CLAWGRESS_LAB=${id}`;

/** Processes that inherited the lab's environment variable, wherever they are now. */
async function taggedPids() {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  const tagged = await Promise.all(
    pids.map(async (pid) => {
      const environment = await readFile(`/proc/${pid}/environ`, "latin1").catch(() => "");
      return environment.split("\0").includes(tag);
    }),
  );
  return pids.filter((_, index) => tagged[index]).map(Number);
}

async function namespaces() {
  const { stdout } = await run("ip", ["netns", "list"]);
  return stdout
    .split("\n")
    .map((line) => line.split(" ")[0])
    .filter((name) => name.startsWith(prefix));
}

async function pidsIn(namespace) {
  const { stdout } = await run("ip", ["netns", "pids", namespace]).catch(() => ({ stdout: "" }));
  return stdout.split("\n").filter(Boolean).map(Number);
}

/** Kills and deletes what there is and returns how much there was. */
async function sweep() {
  const spaces = await namespaces();
  const inside = await Promise.all(spaces.map(pidsIn));
  const pids = new Set([...(await taggedPids()), ...inside.flat()]);
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself.
    }
  }
  if (pids.size === 0) {
    for (const space of spaces) {
      await run("ip", ["netns", "del", space]).catch(() => {});
      await rm(`/etc/netns/${space}`, { recursive: true, force: true });
    }
  }
  return pids.size + spaces.length;
}

async function clean() {
  // Two empty rounds: a command of a dying owner may still have been at work in the first.
  for (let empty = 0, round = 0; empty < 2 && round < 200; round += 1) {
    empty = (await sweep()) === 0 ? empty + 1 : 0;
    await delay(10);
  }
  await rm(folder, { recursive: true, force: true });
  await rmdir("/etc/netns").catch(() => {});
}

mkdirSync(folder, { recursive: process.argv[4] === "again", mode: 0o755 });
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});
process.stdin.resume();
for (const stream of [process.stdin, process.stdout, process.stderr]) stream.on("error", () => {});
console.log("ready");
process.stdin.once("close", () => {
  clean().then(
    () => process.exit(0),
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
});
