/** What a program needs of the machine. Everything else is taken from it. */
export interface Needs {
  /** Numbers: the program runs as them from its first instruction on. */
  readonly user: { readonly uid: number; readonly gid: number };
  /** Held by the program; no other can come back. */
  readonly capabilities: readonly string[];
  /** The only folders that it may write into. */
  readonly writes: readonly string[];
  /** The only programs that may be executed, itself included. */
  readonly executes: readonly string[];
  /** The only kinds of sockets. */
  readonly sockets: readonly SocketKind[];
  readonly reaches: "everything" | "loopback" | "nothing";
  /** Makes machine code while it runs, as V8 does. */
  readonly isJit: boolean;
}

export type SocketKind = "AF_UNIX" | "AF_INET" | "AF_INET6" | "AF_NETLINK";

/** Where Debian keeps the libraries that programs load; of other machines' names those that are not there are ignored. */
const LIBRARIES = ["-/usr/lib/x86_64-linux-gnu", "-/usr/lib/aarch64-linux-gnu", "-/usr/lib64", "-/lib64"] as const;

/** What no program of ours needs. */
const common = [
  "NoNewPrivileges=yes",
  "ProtectSystem=strict",
  // Left writable by the line above as soon as one of the others wants a /proc of its own (systemd 252).
  "ReadOnlyPaths=/run",
  "ProtectHome=yes",
  "PrivateDevices=yes",
  "PrivateMounts=yes",
  "ProtectClock=yes",
  "ProtectControlGroups=yes",
  "ProtectHostname=yes",
  "ProtectKernelLogs=yes",
  "ProtectKernelModules=yes",
  "ProtectKernelTunables=yes",
  "RestrictRealtime=yes",
  "RestrictSUIDSGID=yes",
  "LockPersonality=yes",
  "KeyringMode=private",
  "SystemCallArchitectures=native",
  "SystemCallErrorNumber=EPERM",
] as const;

/** Returns the properties of systemd (systemd.exec(5)) that leave a program what it needs. */
export function sandboxProperties(needs: Needs): readonly string[] {
  const { user, capabilities, writes, executes, sockets, reaches, isJit } = needs;
  return [
    `User=${user.uid}`,
    `Group=${user.gid}`,
    "SupplementaryGroups=",
    `CapabilityBoundingSet=${capabilities.join(" ")}`,
    `AmbientCapabilities=${capabilities.join(" ")}`,
    ...common,
    "TemporaryFileSystem=/tmp:ro /var/tmp:ro",
    "ReadOnlyPaths=-/dev/shm -/dev/mqueue",
    ...(writes.length > 0 ? [`ReadWritePaths=${writes.join(" ")}`] : []),
    // What is mounted below, or made writable, would be left out.
    `NoExecPaths=${["/", "/run", ...writes].join(" ")}`,
    // Mounts of their own, which systemd 252 cannot make read-only as well: they are root's, which is as good.
    `ExecPaths=${[...executes, ...LIBRARIES].join(" ")}`,
    "ProtectProc=invisible",
    "RemoveIPC=yes",
    "UMask=0027",
    "RestrictNamespaces=yes",
    `RestrictAddressFamilies=${sockets.length > 0 ? sockets.join(" ") : "none"}`,
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    ...reachProperties(reaches),
    ...(isJit ? [] : ["MemoryDenyWriteExecute=yes"]),
  ];
}

function reachProperties(reaches: Needs["reaches"]): readonly string[] {
  if (reaches === "everything") return [];
  return ["IPAddressDeny=any", ...(reaches === "loopback" ? ["IPAddressAllow=localhost"] : [])];
}

/**
 * The same for what runs as root: the revert timer, and in the same words the unit files of the agent and of boot. It keeps
 * what making namespaces for checks and probes, handing folders to other users and asking systemd for units takes.
 */
export function rootProperties(writes: readonly string[]): readonly string[] {
  return [
    "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_NET_ADMIN CAP_SYS_ADMIN",
    ...common,
    "PrivateTmp=yes",
    `ReadWritePaths=${[...writes, "-/run/netns", "/proc/sys/net"].join(" ")}`,
    "UMask=0022",
    "RestrictNamespaces=mnt net",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "SystemCallFilter=@system-service @mount setns unshare",
    "SystemCallFilter=~@resources",
  ];
}
