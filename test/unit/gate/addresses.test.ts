import { describe, expect, test } from "vitest";
import { addressBytes, addressKind, addressText6 } from "../../../agent/gate/addresses.ts";

describe("addressKind", () => {
  test.each([
    ["8.8.8.8", "public"],
    ["192.0.2.1", "public"],
    ["198.51.100.7", "public"],
    ["203.0.113.7", "public"],
    ["198.18.0.1", "public"],
    ["198.19.255.255", "public"],
    ["2001:db8::1", "public"],
    ["2606:4700::1111", "public"],
    ["10.0.0.1", "private"],
    ["172.16.0.1", "private"],
    ["172.31.255.255", "private"],
    ["172.32.0.1", "public"],
    ["192.168.0.1", "private"],
    ["100.64.0.1", "private"],
    ["100.127.255.255", "private"],
    ["100.128.0.1", "public"],
    ["192.0.0.2", "private"],
    ["224.0.0.1", "private"],
    ["240.0.0.1", "private"],
    ["255.255.255.255", "private"],
    ["fd00::1", "private"],
    ["fec0::1", "private"],
    ["ff02::1", "private"],
    ["64:ff9b:1::a00:1", "private"],
    ["127.0.0.1", "never"],
    ["127.255.255.255", "never"],
    ["0.0.0.0", "never"],
    ["169.254.169.254", "never"],
    ["168.63.129.16", "never"],
    ["100.100.100.200", "never"],
    ["fd00:ec2::254", "never"],
    ["::", "never"],
    ["::1", "never"],
    ["fe80::1", "never"],
    ["::ffff:a00:1", "never"],
    ["::ffff:808:808", "never"],
    ["::ffff:0:a00:1", "never"],
    ["2001:0:4136:e378:8000:63bf:3fff:fdd2", "never"],
    // Translated forms are what is inside them.
    ["64:ff9b::808:808", "public"],
    ["64:ff9b::a00:1", "private"],
    ["64:ff9b::7f00:1", "never"],
    ["64:ff9b::a9fe:a9fe", "never"],
    ["2002:808:808::1", "public"],
    ["2002:a00:1::1", "private"],
    ["2002:7f00:1::1", "never"],
    ["not an address", "never"],
  ])("%s is %s", (address, kind) => {
    expect(addressKind(address)).toBe(kind);
  });
});

describe("addressText6", () => {
  test.each([
    ["::", "00000000000000000000000000000000"],
    ["::1", "00000000000000000000000000000001"],
    ["2001:db8::1", "20010db8000000000000000000000001"],
    ["2001:db8:0:1:1:1:1:1", "20010db8000000010001000100010001"],
    ["2001:0:0:1::1", "20010000000000010000000000000001"],
    ["1::", "00010000000000000000000000000000"],
  ])("writes %s", (text, hex) => {
    expect(addressText6(Buffer.from(hex, "hex"), 0)).toBe(text);
  });
});

describe("addressBytes", () => {
  test.each([
    "",
    "1.2.3",
    "1.2.3.4.5",
    "01.2.3.4",
    "256.1.1.1",
    "1.2.3.4 }",
    "::1%eth0",
    ":::",
    "1::2::3",
    "12345::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "::ffff:1.2.3.4",
    "G::",
  ])("%j is none", (text) => {
    expect(addressBytes(text)).toBeNull();
  });
});
