import { beforeEach, expect, test } from "vitest";
import { createMachines, type Machines } from "../../../agent/gate/machines.ts";
import { addNeighbours, type Neighbours } from "../../../agent/gate/neighbours.ts";

let neighbours: Neighbours;
let reads: number;
let nowS: number;
let machines: Machines;

beforeEach(() => {
  [neighbours, reads, nowS] = [new Map(), 0, 1000];
  machines = createMachines({
    read: () => {
      reads += 1;
      return neighbours;
    },
    isOnLink: (client) => client.startsWith("10.0."),
    nowS: () => nowS,
  });
});

test("who is on a link and not known yet shares an account with all that are new, until the kernel knows it", () => {
  expect(["10.0.0.1", "10.0.0.2", "10.9.0.1"].map((client) => machines.accountOf(client))).toEqual([
    "newcomers",
    "newcomers",
    "10.9.0.1",
  ]);
  expect(machines.of("10.0.0.1")).toBe("10.0.0.1");
  neighbours = new Map([["10.0.0.1", "02aa"]]);
  nowS += 0.2;
  expect(machines.accountOf("10.0.0.1")).toBe("02aa");
  expect(machines.accountOf("10.0.0.2")).toBe("newcomers");
});

test("addresses of one link address are one machine; one behind a router is its address", () => {
  neighbours = new Map([
    ["10.0.0.1", "02aa"],
    ["10.0.0.2", "02aa"],
    ["fe80::1", "02aa"],
    ["10.0.0.3", "02bb"],
  ]);
  const of = (client: string): string => machines.of(client);
  expect(["10.0.0.1", "10.0.0.2", "fe80::1", "10.0.0.3", "10.9.0.1"].map(of)).toEqual([
    "02aa",
    "02aa",
    "02aa",
    "02bb",
    "10.9.0.1",
  ]);
  expect(machines.addressesOf("10.0.0.2")).toEqual(["10.0.0.1", "10.0.0.2", "fe80::1"]);
  expect(machines.addressesOf("10.9.0.1")).toEqual(["10.9.0.1"]);
  // All of it from one list of the kernel's.
  expect(reads).toBe(1);
});

test("an address that goes to another machine goes with it, and one that falls silent stays", () => {
  neighbours = new Map([["10.0.0.1", "02aa"]]);
  expect(machines.of("10.0.0.1")).toBe("02aa");
  neighbours = new Map();
  nowS += 31;
  expect(machines.of("10.0.0.1")).toBe("02aa");
  neighbours = new Map([["10.0.0.1", "02bb"]]);
  nowS += 31;
  expect(machines.of("10.0.0.1")).toBe("02bb");
  expect(machines.addressesOf("10.0.0.1")).toEqual(["10.0.0.1"]);
});

test("the kernel is asked ten times a second at most, however many addresses are new", () => {
  for (let index = 0; index < 500; index++) {
    nowS += 0.001;
    machines.of(`10.2.${index >> 8}.${index & 255}`);
  }
  expect(reads).toBeLessThanOrEqual(6);
});

test("a kernel that lists nothing leaves clients their addresses", () => {
  const blind = createMachines({
    read: () => {
      throw new Error("no netlink");
    },
    isOnLink: () => true,
    nowS: () => nowS,
  });
  expect(blind.accountOf("10.0.0.1")).toBe("10.0.0.1");
});

/** A message of the kernel's list, as linux/neighbour.h has it. */
function neighbourMessage(address: readonly number[], link: readonly number[]): Buffer {
  const attribute = (type: number, value: readonly number[]): Buffer => {
    const bytes = Buffer.alloc((4 + value.length + 3) & ~3);
    bytes.writeUInt16LE(4 + value.length, 0);
    bytes.writeUInt16LE(type, 2);
    Buffer.from(value).copy(bytes, 4);
    return bytes;
  };
  const head = Buffer.alloc(28);
  head.writeUInt16LE(28, 4);
  const message = Buffer.concat([head, attribute(1, address), ...(link.length === 0 ? [] : [attribute(2, link)])]);
  message.writeUInt32LE(message.length, 0);
  return message;
}

const done = Buffer.from("14000000030002000000000000000000".padEnd(40, "0"), "hex");

test("a datagram of the kernel's is read: both families, and nothing of those that did not answer", () => {
  const found = new Map<string, string>();
  const link = [2, 0xaa, 0xbb, 0xcc, 0xdd, 0xee];
  const datagram = Buffer.concat([
    neighbourMessage([10, 0, 0, 1], link),
    neighbourMessage([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], link),
    neighbourMessage([10, 0, 0, 2], []),
  ]);
  expect(addNeighbours(datagram, found)).toBe(false);
  expect([...found]).toEqual([
    ["10.0.0.1", "02aabbccddee"],
    ["2001:db8::7", "02aabbccddee"],
  ]);
  expect(addNeighbours(done, found)).toBe(true);
  expect(addNeighbours(Buffer.alloc(16), found)).toBe(true);
});
