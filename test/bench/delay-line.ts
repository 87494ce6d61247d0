import { open, read, writeSync } from "node:fs";
import { promisify } from "node:util";
import { openLibc } from "../../agent/host/libc.ts";
import type { Lab } from "../lab/lab.ts";
import { waitForOutput } from "../lab/services.ts";
import { workerArgv } from "./worker.ts";

/*
 * Distance, for kernels without netem: what the internet side sends goes into one device, waits in a program, and comes out
 * of another, from where it is forwarded to the gateway.
 */

const [INLET, OUTLET] = ["delay0", "delay1"];
const TABLE = "100";
const MAX_PACKET_BYTES = 65_536;

/** Puts the internet side of a lab so far away that an answer takes so much longer. It ends with the lab. */
export async function addDistance(lab: Lab, delayMs: number): Promise<void> {
  const { wan } = lab.addresses;
  const settings = ["all.rp_filter=0", `${OUTLET}.rp_filter=0`, `${OUTLET}.accept_local=1`];
  const commands = [
    ...[INLET, OUTLET].flatMap((name) => [`ip tuntap add dev ${name} mode tun`, `ip link set ${name} up`]),
    `sysctl -qw net.ipv4.ip_forward=1 ${settings.map((setting) => `net.ipv4.conf.${setting}`).join(" ")}`,
    // Only what begins here takes the way through the program; what comes out of it has the route that it always had.
    `ip rule add iif lo to ${wan.v4} lookup ${TABLE} pref 10`,
  ];
  for (const command of commands) await runOn(lab, command);
  const program = lab.spawn("internet", workerArgv("delay", { delayMs }));
  await waitForOutput(program, "delays", "the delay line");
  await runOn(lab, `ip route add default dev ${INLET} table ${TABLE}`);
}

async function runOn(lab: Lab, command: string): Promise<void> {
  const [program = "", ...args] = command.split(" ");
  await lab.execChecked("internet", [program, ...args]);
}

const TUNSETIFF = 0x4004_54ca;
const IFF_TUN_NO_PI = 0x1001;
const NAME_BYTES = 16;

/** Passes packets on, each so many milliseconds after it came. Never ends. */
export async function delayForEver({ delayMs }: { readonly delayMs: number }): Promise<never> {
  const [inlet, outlet] = [await openTun(INLET ?? ""), await openTun(OUTLET ?? "")];
  const waiting: { readonly atMs: number; readonly packet: Buffer }[] = [];
  let isArmed = false;
  const pass = (): void => {
    isArmed = false;
    while ((waiting[0]?.atMs ?? Number.POSITIVE_INFINITY) <= performance.now()) {
      const next = waiting.shift();
      if (next !== undefined) writeSync(outlet, next.packet);
    }
    arm();
  };
  const arm = (): void => {
    const [next] = waiting;
    if (isArmed || next === undefined) return;
    isArmed = true;
    setTimeout(pass, Math.max(0, next.atMs - performance.now()));
  };
  console.log("delays");
  const buffer = Buffer.alloc(MAX_PACKET_BYTES);
  for (;;) {
    const { bytesRead } = await promisify(read)(inlet, buffer, 0, buffer.length, null);
    waiting.push({ atMs: performance.now() + delayMs, packet: Buffer.from(buffer.subarray(0, bytesRead)) });
    arm();
  }
}

/** Returns a device of the kernel's that a program stands behind (Documentation/networking/tuntap.rst). */
async function openTun(name: string): Promise<number> {
  const fd = await promisify(open)("/dev/net/tun", "r+");
  const { library, errno } = await openLibc();
  const ioctl = library.func("int ioctl(int fd, unsigned long request, void *request)");
  const request = Buffer.alloc(40);
  request.write(name, 0, NAME_BYTES - 1, "latin1");
  request.writeUInt16LE(IFF_TUN_NO_PI, NAME_BYTES);
  if (ioctl(fd, TUNSETIFF, request) !== 0) throw new Error(`no device ${name}: ${errno()}`);
  return fd;
}
