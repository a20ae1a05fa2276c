import type { Hypervisor, TimeSource } from "@entresol/hypervisor";
import { EntresolError } from "@entresol/wire";
import { z } from "zod";
import type { DeviceFactory } from "./platform.ts";

/** What an embedder can do wrong with a VM. */
export type VmErrorCode =
  | "bad-config"
  | "bad-snapshot"
  | "snapshot-mismatch"
  | "already-running"
  | "failed"
  | "disposed";

/** Thrown for the embedder's mistakes; the message names the field. */
export class VmError extends EntresolError<VmErrorCode> {
  override readonly name = "VmError";
}

/** Smallest RAM that any guest of ours starts in. */
export const MINIMUM_MEMORY = 2 ** 20;
export const MAXIMUM_CPUS = 16;
export const MAXIMUM_SERIAL_PORTS = 4;

const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array, "must be a Uint8Array");

const linuxBoot = z.strictObject({
  kind: z.literal("linux"),
  /** bzImage or ELF64 vmlinux. */
  kernel: bytes,
  /** Loaded high in RAM; its format is the kernel's business. */
  initrd: bytes.optional(),
  commandLine: z.string(),
});

const flatBoot = z.strictObject({
  kind: z.literal("flat"),
  /** Entered in 64-bit mode with the first 4 GiB mapped one to one, interrupts off, RSI = address of the ACPI RSDP. */
  image: bytes,
  loadAddress: z.int().min(0),
  entry: z.int().min(0),
});

const multibootBoot = z.strictObject({
  kind: z.literal("multiboot"),
  /** A kernel with a multiboot 1 header: ELF-32, ELF-64, or any file whose header has addresses. Entered in 32-bit mode. */
  kernel: bytes,
  /** By custom it begins with the kernel's own name. */
  commandLine: z.string(),
  /** Files that the kernel is handed along with itself, in this order. */
  modules: z.array(z.strictObject({ bytes, commandLine: z.string() })).default([]),
});

/** Nothing is loaded: for a hypervisor that brings its guest along, and for what goes on from a snapshot. */
const noBoot = z.strictObject({ kind: z.literal("none") });

const vmConfig = z.strictObject({
  /** Bytes of RAM, a multiple of 4096. */
  memory: z
    .int()
    .min(MINIMUM_MEMORY)
    .refine((size) => size % 4096 === 0, "must be a multiple of 4096"),
  /** Number of vCPUs. */
  cpus: z.int().min(1).max(MAXIMUM_CPUS).default(1),
  boot: z.discriminatedUnion("kind", [linuxBoot, flatBoot, multibootBoot, noBoot]),
  /** Guest time. "virtual" is deterministic; see `Partition.time`. */
  time: z
    .custom<TimeSource>((value) => value === "virtual" || value === "real", 'must be "virtual" or "real"')
    .default("virtual"),
  /** Seed of RDRAND. */
  seed: z.bigint().min(0n).default(1n),
  /** What the RTC shows at guest time 0: seconds since 1970-01-01 UTC. */
  rtcStart: z
    .int()
    .min(0)
    // The clock's four digits of a year.
    .max(Date.UTC(9999, 11, 31) / 1000)
    .default(Date.UTC(2026, 0, 1) / 1000),
  /** Number of serial ports, COM1 first. */
  serialPorts: z.int().min(1).max(MAXIMUM_SERIAL_PORTS).default(2),
  /** The local APICs have x2APIC mode, and CPUID says so. */
  x2apic: z.boolean().default(true),
  /**
   * A TPM 2.0, which measures what is booted. Its state is gone with the VM (and in its snapshots), or stays in the folder `state`, which one VM
   * at a time can have.
   */
  tpm: z.strictObject({ interface: z.enum(["crb", "tis"]), state: z.string().min(1).optional() }).optional(),
  /** With what test kernels expect of QEMU: an exit port, movable interrupt lines, the firmware configuration device. */
  testDevice: z.boolean().default(false),
});

/** Everything that makes a VM. See the fields of the schema for units and ranges. */
export type VmConfig = z.input<typeof vmConfig> & {
  /** What runs the guest; the software processor when absent. */
  readonly hypervisor?: Hypervisor;
  /** The embedder's own devices, attached after the chipset. */
  readonly devices?: readonly DeviceFactory[];
};

export type CheckedConfig = z.output<typeof vmConfig>;

/** What makes a VM that goes on from a snapshot. The snapshot knows the shape; what is given here must agree with it. */
export type ResumeConfig = Pick<
  VmConfig,
  "hypervisor" | "devices" | "time" | "seed" | "x2apic" | "testDevice"
> & {
  readonly memory?: number;
  readonly cpus?: number;
  /** `interface`: what the machine of the snapshot must have. `state`: where its TPM stays, a folder that is as it was then, or a new one. */
  readonly tpm?: { readonly interface?: "crb" | "tis" | "none"; readonly state?: string };
};

/** Checks a config once, at the door. Throws `VmError` `bad-config` that names every field that is wrong. */
export function checkConfig(config: VmConfig): CheckedConfig {
  if (typeof config !== "object" || config === null)
    throw new VmError("bad-config", "config: must be an object");
  const { hypervisor, devices, ...plain } = config;
  const faults: string[] = [];
  if (hypervisor !== undefined && typeof hypervisor?.createPartition !== "function")
    faults.push("hypervisor: must be a Hypervisor");
  if (
    devices !== undefined &&
    !(Array.isArray(devices) && devices.every((item) => typeof item === "function"))
  )
    faults.push("devices: must be an array of functions that make devices");
  const result = vmConfig.safeParse(plain);
  if (result.success && faults.length === 0) return result.data;
  for (const issue of result.error?.issues ?? [])
    faults.push(`${issue.path.length > 0 ? issue.path.join(".") : "config"}: ${issue.message}`);
  throw new VmError("bad-config", faults.join("; "));
}

const units: Record<string, number> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** Reads a size such as `256M`, `1G` or `268435456`. Undefined when it is none. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d{1,15})([KMG]?)(?:i?B)?$/i.exec(text.trim());
  if (match === null) return undefined;
  const size = Number(match[1]) * units[match[2]!.toUpperCase()]!;
  return Number.isSafeInteger(size) ? size : undefined;
}
